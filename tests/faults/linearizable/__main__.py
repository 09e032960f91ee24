"""Long runs: ``python -m tests.faults.linearizable --runs 100 --processes 16 --seed 7``; ends with 1 if one is bad."""

from __future__ import annotations

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

from tests.faults.linearizable.storm import IMPORTS, Settings, storm
from tests.simulators.preload import HostClock, Latency, Refusals, WriteBack, together
from tests.simulators.processes import Preloaded


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20)
    parser.add_argument("--processes", type=int, default=3)
    parser.add_argument("--trials", type=int, default=10, help="of the target, for each process [default: 10]")
    parser.add_argument("--seed", type=int, default=0, help="of the first run; the next has the next")
    parser.add_argument("--busy", action="store_true", help="a thread in each process that holds the interpreter")
    parser.add_argument("--no-kills", action="store_true", help="nobody is killed or stopped")
    parser.add_argument("--no-flock", action="store_true", help="the network has no flock")
    parser.add_argument("--coherent", action="store_true", help="no write-back: what is written is seen at once")
    parser.add_argument("--stall", type=int, default=200, help="late writes that wait, of a thousand [default: 200]")
    parser.add_argument("--holes", action="store_true", help="late writes overtake each other")
    parser.add_argument("--round-trip", type=float, default=0.0005, help="seconds [default: 0.0005]")
    parser.add_argument("--keep", type=Path, help="a folder for the histories and journals of bad runs")
    options = parser.parse_args()
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        network = Path(folder, "network").resolve()
        network.mkdir()
        latency = Latency(root=network, round_trip_s=options.round_trip, out=Path(folder, "operations"))
        write_back = [] if options.coherent else [WriteBack(root=network, flock=not options.no_flock)]
        simulators = [HostClock(), Refusals(root=network), *write_back, latency]
        with Preloaded(together(simulators), imports=IMPORTS) as preloaded:
            for seed in range(options.seed, options.seed + options.runs):
                settings = Settings(
                    seed=seed,
                    processes=options.processes,
                    trials_each=options.trials,
                    is_busy=options.busy,
                    kills=not options.no_kills,
                    flock=not options.no_flock,
                    holes=options.holes,
                    stall_permille=0 if options.coherent else options.stall,
                    patience_s=60.0 + 10 * options.processes,
                )
                run = storm(settings, network / str(seed), Path(folder, "notes", str(seed)), preloaded)
                print(run, flush=True)
                bad += not run.is_fine
                if not run.is_fine and options.keep is not None:
                    shutil.copytree(run.folder, options.keep / str(seed), dirs_exist_ok=True)
    print(f"{bad} of {options.runs} runs are not linearizable")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
