"""Whether there is anything to analyse."""
