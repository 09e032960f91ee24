"""SLURM's commands and words: a module for each kind of question, with one runner for all of them.

A function asks SLURM at most once, for all the jobs that it is given; what a command wrote is read by pure functions.
No process of ours polls SLURM.
"""
