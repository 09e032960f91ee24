"""The state of a study, from its files and at most one squeue. Needs neither Optuna nor pandas."""
