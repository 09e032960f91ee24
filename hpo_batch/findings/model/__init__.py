"""What all subjects compute with: the frame of trials, linear models, a Gaussian process, statistics."""
