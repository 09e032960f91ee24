"""Trials as tables: convert a study's records to frames, and frames to output formats."""
