"""The sections of a report, a module each: they open with their question and close with what they do not show."""
