"""Learning curves: whether early steps tell which trials end well."""
