"""A network file system on one machine: what its clients keep to themselves, how slow its server is, what it refuses.

Small libraries in C that are loaded before the C library (``LD_PRELOAD``). Functions of ``os`` could be replaced in
Python instead, but then each part that opens files past them (``open``, pathlib, filelock, shutil) would be a hole, and
what is tested would not be what users run. Preloaded, one place sees all of a process: its threads, libraries in C, and
programs that it starts. All but the clock concern one folder, the "network", and leave everything else alone.

``WriteBack``  each process is an NFS client of its own: close-to-open consistency, attribute cache  (``writeback.c``)
``Latency``    each operation takes a round trip, and is counted; the server stalls                    (``slow.c``)
``Refusals``   the call that a test names fails, or is where the process is killed or stopped         (``refuse.c``)
``HostClock``  the clock is that of another host                                                       (``clock.c``)

A test gets them as fixtures (``fixtures``). ``processes.Preloaded`` starts functions of a test in processes where they
are loaded: forked from one that has imported everything, so that a start takes milliseconds. ``control.as_network`` has
the product treat every folder as one on a network file system, which it otherwise tells by the file system's type.
"""
