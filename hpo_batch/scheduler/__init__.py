"""Where workers are started: SLURM, or this machine."""
