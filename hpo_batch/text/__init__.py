"""Formats values, names and numbers for messages, escapes text, and masks secrets."""
