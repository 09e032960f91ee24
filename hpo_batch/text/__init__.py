"""How values, names and messages are written: short, on one line, harmless, without secrets."""
