"""Which parameters must be judged together: correlations and interactions."""
