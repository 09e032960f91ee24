"""From what the trials show to the next sweep: plain functions that make a sweep, which one reads before it runs."""
