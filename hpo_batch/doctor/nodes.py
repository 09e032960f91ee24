"""A small job on two nodes: do their locks exclude, and do they have what a worker needs?

The job answers with files in a folder of the logs directory (``doctor.contention``), which also show that it started
and ended. The scheduler is asked at most once, about a job that did not start, which is then cancelled.
"""

from __future__ import annotations

import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from hpo_batch import processes
from hpo_batch.doctor.contention import clock_offset
from hpo_batch.doctor.file_system import PATIENCE_S, answers, judge_locks, question, trial_folder
from hpo_batch.doctor.finding import Finding, bad_site, fine, note
from hpo_batch.doctor.node_answers import clocks, node_findings
from hpo_batch.doctor.node_facts import STARTED, Probe
from hpo_batch.doctor.node_job import Order, script
from hpo_batch.errors import HpoBatchError, SlurmRefused, UserError
from hpo_batch.launch.environment import environment_for
from hpo_batch.launch.sbatch import write_pickle
from hpo_batch.monitor.ends import true_reason
from hpo_batch.monitor.output import last_lines
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.scheduler import JobCommand

ANSWER_S: Final = 4 * PATIENCE_S
"""three locks are tested for at most ``PATIENCE_S`` each, and Python may take as long to start from a cold disk"""


def node_test(order: Order, *, tell: Callable[[str], None]) -> Iterator[Finding]:
    """Submit the job, wait for its answers, and judge them.

    Args:
        tell: called with what is being waited for.
    """
    try:
        with trial_folder(order.root) as folder:
            yield from _try(order, folder.resolve(), tell)
    except HpoBatchError as error:
        do = "" if not isinstance(error, SlurmRefused) else "change the key of [job] that SLURM names"
        yield bad_site("nodes", f"not tried: {error}", do)


def _try(order: Order, folder: Path, tell: Callable[[str], None]) -> Iterator[Finding]:
    # https://slurm.schedmd.com/sbatch.html#SECTION_FILENAME-PATTERN
    if "%" in str(folder):
        raise UserError(f"SLURM replaces '%' in the names of log files: '{folder.parent}' cannot be the logs directory")
    question_for_nodes = question(
        facts="hpo_batch.doctor.node_facts",
        paths=[str(path) for path in order.paths],
        script=str(folder / "job.sh"),
        gpus=order.with_gpus,
    )
    write_pickle(folder / "probe.pkl", Probe(folder=str(folder)), order.job)
    text = script(order, folder, question_for_nodes)
    (folder / "job.sh").write_text(text, encoding="utf-8")  # for the nodes, which test whether they could submit it
    submitted = time.monotonic()
    job_id = ""
    try:
        # not interrupted, since a job with an unknown id cannot be cancelled; in a private folder, so that nobody can
        # replace the script
        with processes.not_interrupted(), tempfile.TemporaryDirectory(prefix="hpo-batch-doctor-") as own:
            (Path(own) / "job.sh").write_text(text, encoding="utf-8")
            job_id = BATCH.submit(JobCommand(argv=(str(Path(own) / "job.sh"),), env=environment_for(text, os.environ)))
        where = f"{order.nodes} node{'s' if order.nodes > 1 else ''}"
        tell(f"job {job_id} on {where}: waiting up to {order.start_within_s:.0f} s for its start")
        if not _wait(folder, lambda: (folder / "started").exists(), order.start_within_s):
            yield _not_started(order, job_id)
            return
        waited_s = time.monotonic() - submitted
        tell(f"job {job_id} has started: waiting up to {ANSWER_S:.0f} s for its answers")
        _wait(folder, lambda: (folder / "ended").exists(), ANSWER_S)
    finally:  # after Ctrl-C too
        if job_id and not (folder / "ended").exists():
            BATCH.cancel([job_id])
    yield from _judge(order, folder, waited_s)


def _wait(folder: Path, is_so: Callable[[], bool], timeout_s: float) -> bool:
    deadline, beat = time.monotonic() + timeout_s, folder / "beat.doctor"
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        beat.touch()  # NFS clients may remember for a minute that a file is absent, unless the folder changes
        beat.unlink(missing_ok=True)
        time.sleep(0.2)
    return True


def _not_started(order: Order, job_id: str) -> Finding:
    within = f"within {order.start_within_s:.0f} s"
    rows = [row for row in BATCH.queue([job_id]).values() if row.state.live]
    if not rows:
        what = f"job {job_id} ended without output: does '{order.root}' exist on the nodes, and can you write to it?"
        return bad_site("nodes", what, "choose a logs directory that all nodes share (--root, or $HPO_BATCH_ROOT)")
    what = f"job {job_id} did not start {within}: {rows[0].word}, {rows[0].reason}; it was cancelled"
    return note("nodes", what, "try again when the cluster is less busy, or wait longer with --start-within SECONDS")


def _judge(order: Order, folder: Path, waited_s: float) -> Iterator[Finding]:
    nodes, answered = (folder / "started").read_text(encoding="utf-8").strip(), answers(folder)
    if len(answered) < 2:
        yield _no_answer(order, folder, nodes, answered)
        return
    hosts = [one["host"] for one in answered]
    if len(set(hosts)) == 2:
        between = f"nodes {hosts[0]} and {hosts[1]}"
        yield fine("nodes", f"{between} answered; the job had waited {waited_s:.0f} s")
    else:
        between = f"two processes of node {hosts[0]}"
        why = order.why_one_node or "SLURM gave one"
        yield note("nodes", f"one node answered ({hosts[0]}): {why}; between nodes nothing was tried")
    # a finding that both nodes share is printed once, with both names
    hosts_of: dict[Finding, dict[str, None]] = {}
    for one in answered:
        for finding in node_findings(one, order):
            hosts_of.setdefault(finding, {})[one["host"]] = None
    for finding, names in hosts_of.items():
        yield replace(finding, what=f"{', '.join(names)}: {finding.what}")
    yield from _start(folder, nodes)
    if all("clock" in one for one in answered):
        yield clocks({one["host"]: one["clock"] for one in answered} | {"this host": clock_offset(folder, 2)})
    yield from judge_locks(folder, answered, between=between, one_host=len(set(hosts)) == 1)


def _start(folder: Path, nodes: str) -> Iterator[Finding]:
    """Whether the probe that was started like a worker has run."""
    if any(folder.glob(f"{STARTED}.*")):
        yield fine("start", "a worker starts: srun, Python and submitit's runner find what they need")
        return
    # the worker's own log, since srun and submitit's runner write their errors there
    lines = [line for path in sorted(folder.glob("*_log.err")) for line in last_lines(path, 50)]
    why = true_reason(lines) or "no line in its log"
    do = "see [job] setup, python, srun_args, and the options behind -- that change its environment (--export)"
    yield bad_site("start", f"{nodes}: a worker does not start: {why}", do)


def _no_answer(order: Order, folder: Path, nodes: str, answered: Sequence[Mapping[str, Any]]) -> Finding:
    lines: list[str] = []
    for path in sorted(folder.glob("*_log.*")):
        with suppress(OSError):
            lines += [
                line.strip() for line in path.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()
            ]
    words = [line for line in lines if "error" in line.lower() or "not found" in line.lower()] or lines
    why = "; ".join(dict.fromkeys(words[:2])) or f"no answer within {ANSWER_S:.0f} s of its start"
    python = order.job.python or sys.executable
    what = f"{nodes}: '{python}' gave {len(answered)} of 2 answers: {why}"
    do = "set [job] python to one that is there, or [job] setup to lines that make it so (module load, conda activate)"
    return bad_site("python", what, do)
