"""Whether GPUs were slowed down, or had memory errors."""
