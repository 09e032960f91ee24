"""Runs the user's code (functions and commands) for one trial, and turns its result into an outcome."""
