"""Which trials may not be believed."""
