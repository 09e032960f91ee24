"""Where the hours went."""
