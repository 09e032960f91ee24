"""Turn a sweep into running workers: a pure plan, and the code that carries it out."""
