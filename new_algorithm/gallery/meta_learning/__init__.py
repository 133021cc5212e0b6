"""Learning to learn: parameters from which a few rows of a new task are enough."""
