"""What further trials of the search would gain, and cost."""
