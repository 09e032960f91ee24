"""Decide who runs what next: the one interface between a worker and the journal. User code never sees Optuna."""
