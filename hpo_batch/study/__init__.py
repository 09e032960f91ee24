"""Who runs what next: the one interface between a worker and the journal. Home of Optuna; user code never meets it."""
