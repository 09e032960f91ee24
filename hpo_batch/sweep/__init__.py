"""Reads and validates sweep files (TOML), and reports all mistakes at once."""
