"""Folders as the hosts of a cluster see them: ``hostfs.c`` is a file system with the caches of an NFS client.

Several mounts of one folder are several hosts. What a mount does and what it does not model stands at the top of
``hostfs.c``; ``test_hosts.py`` holds it to that. By hand:

    .venv/bin/python -m tests.network.mount /tmp/server /tmp/host1 --rtt-ms 2 &
    .venv/bin/python -m tests.network.mount /tmp/server /tmp/host2 --rtt-ms 2 --flock-local &
"""
