"""The process in an array task, or on this machine: claim, train, tell, until nothing is left."""
