"""What was gained over the baseline."""
