#!/bin/bash
# Install what tests/slurm needs (Debian, Ubuntu), unless it is there. `make test-slurm` calls this.
# Services that the packages start are stopped again, but only where this run installed the package: the tests start
# their own daemons on their own ports.
set -euo pipefail

# package, and a program of it
needed=(
    "slurm-client sbatch"
    "slurm-wlm slurmctld"
    "slurm-wlm slurmd"
    "slurmdbd slurmdbd"
    "munge munged"
    "mariadb-server mariadbd"
)

PATH=$PATH:/usr/sbin:/usr/local/sbin
missing=()
for pair in "${needed[@]}"; do
    read -r package program <<<"$pair"
    command -v "$program" >/dev/null || missing+=("$package")
done
if [ ${#missing[@]} -eq 0 ]; then
    exit 0
fi
mapfile -t missing < <(printf '%s\n' "${missing[@]}" | sort -u)

if ! command -v apt-get >/dev/null; then
    echo "install_slurm.sh: no apt-get here; install by hand, then run again: ${missing[*]}" >&2
    exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
    if ! sudo -n true 2>/dev/null; then
        echo "install_slurm.sh: needs root to install: ${missing[*]}; run it as root, or with sudo" >&2
        exit 1
    fi
    as_root=(sudo)
fi

# The lock's timeout: another apt-get may be running, such as a container's first update.
apt=("${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get -o DPkg::Lock::Timeout=300 -qq)
"${apt[@]}" update
"${apt[@]}" install -y --no-install-recommends "${missing[@]}" >&2

for package in "${missing[@]}"; do
    case $package in
        mariadb-server) services=(mariadb) ;;
        slurm-wlm) services=(slurmctld slurmd) ;;
        slurm-client) services=() ;;
        *) services=("$package") ;;
    esac
    for service in "${services[@]}"; do
        # Without an init system nothing was started either.
        "${as_root[@]}" service "$service" stop >/dev/null 2>&1 || true
    done
done
