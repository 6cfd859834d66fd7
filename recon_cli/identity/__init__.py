"""The idea: a likelihood, the loss that it claims to be, and where their numbers may lie."""
