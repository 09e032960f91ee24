"""Every check of a study, of the disk it lies on, of nodes and of what a site allows."""
