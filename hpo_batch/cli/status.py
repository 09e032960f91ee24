"""``hpo-batch status``: one screen per study."""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hpo_batch.cli.options import logs_root, root_option, study_homes

if TYPE_CHECKING:
    from hpo_batch.monitor.status import StudyStatus
    from hpo_batch.store.home import StudyHome

WATCH_S = 60.0


@click.command(name="status")
@click.argument("study", required=False)
@click.option("--json", "as_json", is_flag=True, help="For programs: one JSON object per study in a list.")
@click.option("-w", "--watch", is_flag=True, help=f"Show it again every {WATCH_S:.0f} s.")
@root_option
def command(study: str | None, as_json: bool, watch: bool, root: Path | None) -> None:
    """Show trials, workers and the best so far of STUDY (left out: the newest)."""
    from hpo_batch.monitor.status import study_statuses

    homes = study_homes(study, logs_root(root))
    while True:
        statuses = study_statuses(homes)
        if as_json:
            click.echo(json.dumps([status.as_json() for status in statuses], indent=2, ensure_ascii=False))
        else:
            if watch:
                click.clear()
            pairs = zip(homes, statuses, strict=True)
            click.echo("\n\n".join("\n".join(_lines(status) + _ended_badly(home, status)) for home, status in pairs))
        if not watch:
            return
        time.sleep(WATCH_S)


def _ended_badly(home: StudyHome, status: StudyStatus) -> list[str]:
    """Why no worker is there although trials are left, if the workers said so."""
    from hpo_batch.monitor.status import last_words

    if status.workers or not status.counts.remaining:
        return []
    return [f"ended     {words}  ({log})" for log, words in last_words(home)]


def _lines(status: StudyStatus) -> list[str]:
    counts = status.counts
    states = [
        f"{count} {name}"
        for name, count in (
            ("running", counts.running),
            ("waiting", counts.waiting),
            ("complete", counts.complete),
            ("pruned", counts.pruned),
            ("failed", counts.failed),
        )
        if count
    ]
    lines = [
        f"study     {status.name}  ({status.path})",
        f"trials    {counts.finished} of {counts.target} finished: {', '.join(states) or 'none started'}",
    ]
    if status.best is not None and status.best.values:
        named = f" ({status.best.name})" if status.best.name else ""
        lines.append(f"best      {status.metric} {status.best.values[0]:.6g} by trial {status.best.number}{named}")
    if status.front:
        some = ", ".join(map(str, status.front[:10])) + (", ..." if len(status.front) > 10 else "")
        lines.append(f"front     {len(status.front)} trials that no other one beats in {status.metric}: {some}")
    if status.failures:
        lines.append("failures  " + ", ".join(f"{count} {reason}" for reason, count in status.failures.items()))
    for node in status.failing_nodes:
        advice = "; look at it, or leave it out with job.exclude" if node.is_to_blame else ""
        lines.append(f"node      {node}{advice}")
    lines += _worker_lines(status)
    if status.unseen:
        lines.append(f"unseen    {status.unseen}")
    if counts.remaining and not status.workers and not status.unseen:
        lines.append(f"next      {counts.remaining} trials are left and no worker is there: submit the sweep again")
    return lines


def _worker_lines(status: StudyStatus) -> list[str]:
    if not status.workers:
        return ["workers   none"]
    head = f"workers   {len(status.workers)}"
    rows: Sequence[str] = [
        "  ".join(
            part
            for part in (
                f"{worker.job:<16}",
                f"{worker.state.lower():<10}",
                f"{worker.node:<12}",
                f"GPU {','.join(worker.gpus)}" if worker.gpus else "",
                f"trial {worker.trial}" if worker.trial is not None else "",
                worker.reason,
            )
            if part
        ).rstrip()
        for worker in status.workers
    ]
    return [head, *(f"  {row}" for row in rows)]
