"""SLURM's words and commands, the allocation that a worker runs in, and this machine's GPUs.

Nothing here knows of sweeps, studies or trials. Every function asks SLURM at most once.
"""
