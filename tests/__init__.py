import os

# fork + numeric threads: one thread, as on two shared cores a second one makes torch many times slower
os.environ.setdefault("OMP_NUM_THREADS", "1")
