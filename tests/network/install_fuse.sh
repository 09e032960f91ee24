#!/bin/bash
# Install what tests/network needs to mount folders (Debian, Ubuntu), unless it is there. `.ci/run` and
# `make test-slurm` call this.
# Without /dev/fuse or root those tests are skipped.
set -euo pipefail
if [ ! -e /dev/fuse ] || [ "$(id -u)" != 0 ]; then
    echo "install_fuse.sh: no /dev/fuse, or not root: the tests on mounts are skipped" >&2
    exit 0
fi
if command -v gcc >/dev/null && command -v fusermount3 >/dev/null && pkg-config --exists fuse3 2>/dev/null; then
    exit 0
fi
packages=(gcc libc6-dev pkg-config fuse3 libfuse3-dev)
if ! command -v apt-get >/dev/null; then
    echo "install_fuse.sh: no apt-get here; install by hand: ${packages[*]}" >&2
    exit 1
fi
# The lock's timeout: another apt-get may be running, such as a container's first update.
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${packages[@]}" >&2
