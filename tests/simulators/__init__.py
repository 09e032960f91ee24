"""A network file system on one machine: what its clients keep to themselves, how long its server takes, what it refuses.

Three small libraries in C that are loaded before the C library (``LD_PRELOAD``). Functions of ``os`` in Python could be
replaced instead, but then each part that opens files past them (``open``, pathlib, filelock, msgspec, shutil) would be a
hole, and what is tested would not be what users run. Preloaded, one place sees all of a process: threads, libraries in
C, and programs that it starts. All concern one folder, the "network", and leave everything else alone.

``write_back``   each process is an NFS client of its own: close-to-open consistency, attribute cache  (``writeback.c``)
``latency``      each operation takes a round trip, and is counted                                       (``slow.c``)
``refusals``     the call that a test names fails, or is where the process is killed or stopped           (``refuse.c``)

A test gets them as fixtures (``fixtures``). ``Preloaded`` starts functions of a test in processes where they are loaded,
fast, since they are forked from one that has imported everything. ``as_network`` has the product's own code treat every
folder as one on a network file system, which it otherwise tells by the type of the file system.
"""
