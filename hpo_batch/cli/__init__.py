"""The command line: one module per command, wiring only. Heavy modules are imported inside the commands."""
