"""The next sweep: what the trials of studies justify changing, written as a sweep file to review."""
