"""Where workers run: SLURM, or this machine. ``scheduler.Scheduler`` says what we need of either.

Nothing here knows of sweeps, studies or trials.
"""
