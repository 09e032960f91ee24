"""What was expected before the sweep, and what came of it."""
