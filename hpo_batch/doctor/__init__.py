"""Every check of a study, its disk, nodes, and the limits of a site."""
