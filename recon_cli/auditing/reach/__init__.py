"""How a loss is come by: from a function, or out of a live training step."""
