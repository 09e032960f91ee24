"""All trials, one by one, to look things up in."""
