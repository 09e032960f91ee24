"""The worker process, in an array task or on this machine: claim, train, tell, until no trial is left."""
