"""The trials of several studies together."""
