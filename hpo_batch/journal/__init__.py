"""Optuna's journal file: its bytes, lock and damage, and its records decoded once. Knows no study directory."""
