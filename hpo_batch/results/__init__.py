"""Trials as tables: from the records of a study to frames, and from frames to the formats that people use."""
