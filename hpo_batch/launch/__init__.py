"""From a sweep to running workers: a pure plan, and the one place that carries it out."""
