"""The TOML file of a sweep: what may stand in it, how it is read, and every mistake in it at once."""
