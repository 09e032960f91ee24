"""What became of the trials with each value of a parameter."""
