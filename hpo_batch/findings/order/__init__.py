"""The order of the trials: whether the metric moved with time, whatever the parameters did."""
