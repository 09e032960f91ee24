"""Trials from anywhere to a trials table: studies, files, storages of other tools."""
