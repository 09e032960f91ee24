"""Which parameters explain the differences between trials."""
