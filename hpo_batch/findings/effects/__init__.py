"""What each parameter does to the metric."""
