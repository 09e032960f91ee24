"""Trainers that ship with hpo-batch: user code like yours, imported by nobody and loaded by the name in the sweep.

Copy one to start your own, or call `loop.fit` and `checkpoint.Checkpoint` from it. A trainer takes a `Trial`, reports
once per epoch and returns its metrics; it knows nothing of Optuna, of SLURM or of the study it runs in.
"""
