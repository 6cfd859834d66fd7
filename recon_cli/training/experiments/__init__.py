"""What is done with whole runs: two side by side, one setting through several values, and the optimum that is known."""
