"""What must hold of whatever refine, propose and confirm write, for one drawn sweep, or for thousands of them.

    python -m tests.next.written --first 0 --seeds 2000

About a second for each. What fails is printed with its seed, and the exit code is 1.
"""

from __future__ import annotations

import argparse
import random
import sys
import tempfile
import traceback
from collections import Counter
from pathlib import Path
from typing import Final

from hpo_batch.errors import Declined, UserError
from hpo_batch.launch.check import check
from hpo_batch.launch.submit import requests_of_file, submit_sweeps
from hpo_batch.next.confirm import confirm
from hpo_batch.next.parent import parent_of
from hpo_batch.next.predictions import with_digest
from hpo_batch.next.propose import propose
from hpo_batch.next.ran import already_run, repeated
from hpo_batch.next.refine import refine, write
from hpo_batch.next.sweep_text import write_sweep
from hpo_batch.results.table import TrialsTable
from hpo_batch.study.create import create
from hpo_batch.sweep.load import load, loads
from hpo_batch.sweep.planned import planned_trials
from hpo_batch.sweep.schema import Sweep
from tests.next import any_sweep
from tests.next.test_refine import assert_can_be_undone, assert_is_safe

TOLD_EVERY: Final = 50
"""sweeps, after which it says how far it is"""


def submits_twice(path: Path, *, root: Path) -> None:
    (study,) = check(path, root=root)
    assert not study.errors
    (request,) = requests_of_file(path, root=root)
    first = submit_sweeps([request], dry_run=True)
    assert not first.error
    assert first.plans[0].change.created
    create(request.home, request.sweep, toml=request.toml, now=1.0)
    (again,) = submit_sweeps(requests_of_file(path, root=root), dry_run=True).plans
    assert (again.change.created, again.change.lines, again.change.against) == (False, (), ())


def follows_refine(text: str, sweep: Sweep, table: TrialsTable, folder: Path) -> Counter[str]:
    try:
        made = refine([table], root=folder / "logs", text=text, path=folder / "refined.toml")
    except Declined:
        return Counter(declined=1)
    write(made)
    assert_is_safe(sweep, made)
    assert_can_be_undone(sweep, made)
    assert all(f"# note {k}" in made.toml for k in range(9) if f"# note {k}" in text)
    submits_twice(made.path, root=folder / "logs")
    return Counter(
        refine=1, **{f"of these, {action}": 1 for action in {decision.action for decision in made.decisions}}
    )


def follows_propose(table: TrialsTable, folder: Path) -> bool:
    try:
        made = propose(parent_of(table), root=folder / "logs", near=folder)
    except (Declined, UserError):
        return False
    _, files = with_digest(made.text, folder / "proposed.toml", made.decisions_json)
    write_sweep(folder / "proposed.toml", files)
    (sweep,) = load(folder / "proposed.toml")
    planned = planned_trials(sweep)
    assert len({one.configuration.key for one in planned}) == len(planned) == len(sweep.trial)
    assert made.trainings == len(planned) * len(sweep.study.seeds)
    assert all("ran before" in line and line.startswith("reference ") for line in repeated(sweep, [table]))
    submits_twice(folder / "proposed.toml", root=folder / "logs")
    return True


def follows_confirm(table: TrialsTable, folder: Path) -> bool:
    try:
        made = confirm(parent_of(table), root=folder / "logs", near=folder)
    except UserError:
        return False
    _, files = with_digest(made.text, folder / "confirmed.toml", made.decisions_json)
    write_sweep(folder / "confirmed.toml", files)
    (sweep,) = load(folder / "confirmed.toml")
    ran = already_run(sweep, [table])
    finalists = [one for one in planned_trials(sweep) if one.origin == "list"]
    assert all(one.configuration.key in ran for one in finalists)
    assert len(finalists) == len(sweep.trial) >= 2
    submits_twice(folder / "confirmed.toml", root=folder / "logs")
    return True


def holds(seed: int, folder: Path) -> Counter[str]:
    """Checks what each command writes for one drawn sweep, and counts what was written."""
    text = any_sweep.sweep_text(seed)
    (sweep,) = loads(text, path=folder / "any.toml")
    table = any_sweep.table_of(sweep, n=random.Random(seed).choice([6, 12, 25, 60]), seed=seed)
    written = follows_refine(text, sweep, table, folder)
    written.update(propose=follows_propose(table, folder), confirm=follows_confirm(table, folder))
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--first", type=int, default=0, help="the first seed")
    parser.add_argument("--seeds", type=int, default=100, help="how many")
    given = parser.parse_args()
    counted: Counter[str] = Counter()
    for n, seed in enumerate(range(given.first, given.first + given.seeds), start=1):
        with tempfile.TemporaryDirectory() as folder:
            try:
                counted.update(holds(seed, Path(folder)))
            except Exception:
                counted["failed"] += 1
                print(f"seed {seed}:\n{traceback.format_exc()}", flush=True)
        if n % TOLD_EVERY == 0 or n == given.seeds:
            print(f"{n} sweeps from seed {given.first}: {dict(sorted(counted.items()))}", flush=True)
    sys.exit(1 if counted["failed"] else 0)


if __name__ == "__main__":
    main()
