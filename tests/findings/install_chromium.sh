#!/bin/bash
# Install the browser that tests/report opens reports in (Debian, Ubuntu), unless there is one. `.ci/run` calls this;
# where there is none, those tests skip and say so.
set -euo pipefail
for program in chromium chromium-browser google-chrome; do
    if command -v "$program" >/dev/null; then
        exit 0
    fi
done
if ! command -v apt-get >/dev/null || [ "$(id -u)" != 0 ]; then
    echo "install_chromium.sh: needs root and apt-get; without a browser its tests are skipped" >&2
    exit 0
fi
# The lock's timeout: another apt-get may be running, such as a container's first update.
apt=(env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
if ! { "${apt[@]}" update && "${apt[@]}" install -y --no-install-recommends chromium fonts-dejavu-core; } >&2; then
    echo "install_chromium.sh: chromium could not be installed; its tests are skipped" >&2
fi
