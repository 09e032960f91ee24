"""What the best quarter has in common, and where a range may end too early."""
