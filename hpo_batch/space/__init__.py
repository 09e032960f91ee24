"""What is searched: parameters, conditions, derived values, constraints, identity, cells. Knows no TOML, no Optuna."""
