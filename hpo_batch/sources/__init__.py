"""Read trials from anywhere into a trials table: studies, files, storages of other tools."""
