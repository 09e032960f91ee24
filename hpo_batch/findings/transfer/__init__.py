"""What the best configurations of each budget are worth in the others."""
