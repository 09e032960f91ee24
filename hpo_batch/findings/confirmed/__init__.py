"""What the best configurations gave again, with new seeds."""
