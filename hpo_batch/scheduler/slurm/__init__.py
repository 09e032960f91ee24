"""Runs SLURM's commands and parses their output.

Each function runs a command at most once, for all jobs together, because every call locks the controller; nothing here
polls (https://slurm.schedmd.com/squeue.html, PERFORMANCE). Parsers are pure functions.
"""
