"""Interfaces to SLURM and to local processes, behind the ``Scheduler`` protocol. Independent of sweeps and studies."""
