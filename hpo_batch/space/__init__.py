"""The search space: parameters, conditions, derived values, constraints and cells. Independent of TOML and Optuna."""
