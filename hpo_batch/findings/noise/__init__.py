"""Whether the metric repeats itself."""
