"""A small job on two nodes: do their locks exclude, and do they have what a worker needs?

The job answers with files in a folder below the logs directory (``doctor.contention``): that it started and that it
ended, is seen by them. SLURM is asked once at most, about a job that did not start, which is cancelled.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from hpo_batch import __version__, processes
from hpo_batch.doctor.contention import clock_offset
from hpo_batch.doctor.file_system import PATIENCE_S, answers, judge_locks, program_text, question, trial_folder
from hpo_batch.doctor.finding import Finding, Level
from hpo_batch.doctor.node_facts import STARTED, Probe
from hpo_batch.envvars import EnvVar
from hpo_batch.errors import Exit, HpoBatchError, SlurmRefused, UserError
from hpo_batch.launch.environment import environment_for
from hpo_batch.launch.sbatch import parameters, script_text, start_text, write_pickle
from hpo_batch.monitor.ends import true_reason
from hpo_batch.monitor.output import last_lines
from hpo_batch.scheduler import gpu_request
from hpo_batch.scheduler.slurm import jobs, queue
from hpo_batch.scheduler.slurm.site import Partition
from hpo_batch.sweep.schema import Job

JOB_S = 300.0
"""limit of the job; an idle cluster needs seconds"""
ANSWER_S = 4 * PATIENCE_S
MOST_MEM_GB = 4.0
PROGRAM = EnvVar.CONTENTION
CLOCKS_APART_S = 5.0


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is tried, and where."""

    job: Job
    """what the sweep asks for"""
    root: Path
    workdir: Path
    paths: tuple[Path, ...]
    """that a worker must see"""
    partitions: tuple[Partition, ...]
    with_gpus: bool
    start_within_s: float

    @property
    def nodes(self) -> int:
        """2, but 1 where no partition lets a job have two, or nothing but srun could start on the second."""
        return 2 if self.why_one_node == "" else 1

    @property
    def why_one_node(self) -> str:
        if not self.job.srun:
            return "[job] srun = false starts nothing on a second node"
        if all(one.nodes < 2 or one.max_nodes == 1 for one in self.partitions):
            return f"partition '{','.join(one.name for one in self.partitions)}' gives a job one node only"
        return ""


def node_test(order: Order, *, tell: Callable[[str], None]) -> Iterator[Finding]:
    """Submit the job, wait for its answers, and judge them.

    Args:
        tell: told what is waited for.
    """
    try:
        with trial_folder(order.root) as folder:
            yield from _try(order, folder.resolve(), tell)
    except HpoBatchError as error:
        do = "" if not isinstance(error, SlurmRefused) else "change the key of [job] that SLURM names"
        yield _bad("nodes", f"not tried: {error}", do)


def _try(order: Order, folder: Path, tell: Callable[[str], None]) -> Iterator[Finding]:
    if "%" in str(folder):
        raise UserError(f"SLURM replaces '%' in the names of log files: '{folder.parent}' cannot be the logs directory")
    asked = question(
        facts="hpo_batch.doctor.node_facts",
        paths=[str(path) for path in order.paths],
        script=str(folder / "job.sh"),
        gpus=order.with_gpus,
    )
    write_pickle(folder / "probe.pkl", Probe(folder=str(folder)), order.job)
    text = script(order, folder, asked)
    (folder / "job.sh").write_text(text, encoding="utf-8")  # for the nodes, which ask whether they could submit it
    submitted = time.monotonic()
    job_id = ""
    try:
        # a job whose id nobody knows cannot be cancelled; its script is no file that others could have replaced
        with processes.not_interrupted(), tempfile.TemporaryDirectory(prefix="hpo-batch-doctor-") as own:
            (Path(own) / "job.sh").write_text(text, encoding="utf-8")
            job_id = jobs.sbatch(Path(own) / "job.sh", env=environment_for(text, os.environ))
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
            jobs.scancel([job_id])
    yield from _judge(order, folder, waited_s)


def script(order: Order, folder: Path, asked_of_nodes: Mapping[str, Any]) -> str:
    """The job as a worker's would be, but for its size: the same partition, account, setup, Python and launcher."""
    job = replace(
        order.job,
        walltime=min(order.job.walltime, JOB_S),
        cpus=1,
        mem_gb=None if order.job.mem_gb is None else min(order.job.mem_gb, MOST_MEM_GB),
        dependency=None,
        nodes=1,
        tasks_per_node=1,
        workers_per_gpu=None,
        mps=False,
    )
    without = {"ntasks"} if order.with_gpus else {"ntasks", *gpu_request.OPTIONS}
    job = replace(job, sbatch={key: value for key, value in job.sbatch.items() if key.replace("_", "-") not in without})
    if not order.with_gpus:
        job = replace(job, gres=None, gpus_per_node=None)
    asked = parameters(job, name="hpo-batch-doctor", workdir=order.workdir)
    asked |= {"nodes": order.nodes, "ntasks_per_node": 2 // order.nodes}
    further = asked["additional_parameters"]
    asked["additional_parameters"] = {key: value for key, value in further.items() if key not in ("requeue", "signal")}
    at_end = f"echo $? > {shlex.quote(str(folder / 'ended'))}"
    seen = [f"trap {shlex.quote(at_end)} EXIT"]
    seen += [f'echo "$SLURM_JOB_NODELIST" > {shlex.quote(str(folder / "started"))}']
    asked["setup"] = [*seen, *asked.get("setup", [])]
    # in the script itself: a file in the logs directory might be another one by then
    text = f"IFS= read -r -d '' {PROGRAM} <<'{PROGRAM}' || true\n{program_text()}{PROGRAM}"
    asked["setup"] = [text, *asked["setup"]]
    arguments = shlex.join((str(folder), json.dumps(asked_of_nodes)))
    python = f'{job.python or shlex.quote(sys.executable)} -u -c "${PROGRAM}" {arguments}'
    command = python if job.srun else f"{python} 1 & {python} 0 && wait $!"
    # then a worker is started as workers are: what its start needs is tried by nothing else
    return f"{script_text(command, folder=folder, asked=asked)}\n{start_text(job, folder=folder, pickle='probe.pkl')}\n"


def _wait(folder: Path, is_so: Callable[[], bool], timeout_s: float) -> bool:
    deadline, beat = time.monotonic() + timeout_s, folder / "beat.doctor"
    while not is_so():
        if time.monotonic() >= deadline:
            return False
        beat.touch()  # NFS clients remember for up to a minute that a file was not there, unless the folder changes
        beat.unlink(missing_ok=True)
        time.sleep(0.2)
    return True


def _not_started(order: Order, job_id: str) -> Finding:
    within = f"within {order.start_within_s:.0f} s"
    rows = [row for row in queue.squeue([job_id]).values() if row.state.live]
    if not rows:
        what = f"job {job_id} ended without a word: does '{order.root}' exist on the nodes, and may you write there?"
        return _bad("nodes", what, "choose a logs directory that all nodes share (--root, or $HPO_BATCH_ROOT)")
    what = f"job {job_id} did not start {within}: {rows[0].word}, {rows[0].reason}; it was cancelled"
    return _note("nodes", what, "try again when the cluster is less busy, or wait longer with --start-within SECONDS")


def _judge(order: Order, folder: Path, waited_s: float) -> Iterator[Finding]:
    nodes, answered = (folder / "started").read_text(encoding="utf-8").strip(), answers(folder)
    if len(answered) < 2:
        yield _no_answer(order, folder, nodes, answered)
        return
    hosts = [one["host"] for one in answered]
    if len(set(hosts)) == 2:
        between = f"nodes {hosts[0]} and {hosts[1]}"
        yield _fine("nodes", f"{between} answered; the job had waited {waited_s:.0f} s")
    else:
        between = f"two processes of node {hosts[0]}"
        why = order.why_one_node or "SLURM gave one"
        yield _note("nodes", f"one node answered ({hosts[0]}): {why}; between nodes nothing was tried")
    told: dict[tuple[Any, ...], list[str]] = {}
    for one in answered:
        for level, about, what, do in node_findings(one, order):
            names = told.setdefault((level, about, what, do), [])
            names += [one["host"]] if one["host"] not in names else []
    for (level, about, what, do), names in told.items():
        yield Finding(level=level, about=about, what=f"{', '.join(names)}: {what}", do=do, code=Exit.SLURM)
    yield from _start(folder, nodes)
    if all("clock" in one for one in answered):
        yield clocks({one["host"]: one["clock"] for one in answered} | {"this host": clock_offset(folder, 2)})
    yield from judge_locks(folder, answered, between=between, one_host=len(set(hosts)) == 1)


def _start(folder: Path, nodes: str) -> Iterator[Finding]:
    """Whether what was started as workers are has come to its first line."""
    if any(folder.glob(f"{STARTED}.*")):
        yield _fine("start", "a worker starts: srun, Python and submitit's runner find what they need")
        return
    lines = [line for path in sorted(folder.glob("*_log.err")) for line in last_lines(path, 50)]
    why = true_reason(lines) or "no line in its log"
    do = "see [job] setup, python, srun_args, and the options behind -- that change its environment (--export)"
    yield _bad("start", f"{nodes}: a worker does not start: {why}", do)


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
    return _bad("python", what, do)


Told = tuple[Level, str, str, str]


def node_findings(one: Mapping[str, Any], order: Order) -> Iterator[Told]:
    """What one node's answer says of it, without its name: that of two nodes is often the same."""
    yield from _python(one, order.job)
    if one["unseen"]:
        what = f"not there: {', '.join(one['unseen'])}"
        yield (
            Level.BAD,
            "nodes",
            what,
            "put it where all nodes see it: a shared file system, not a disk of this machine",
        )
    elif one["cwd"] != str(order.workdir):
        what = f"jobs start in '{one['cwd']}', not in '{order.workdir}'"
        yield Level.BAD, "nodes", what, "submit from a folder that all nodes see"
    else:
        yield Level.FINE, "nodes", "the working directory, this Python and the logs directory are there", ""
    facts = one.get("facts")
    if facts is None:
        return
    if "failed" in facts["scontrol"]:
        do = "submit again when workers are short: one at its time limit cannot ask for another run"
        yield Level.NOTE, "nodes", f"scontrol does not work there: {facts['scontrol']['failed']}", do
    if "failed" in facts["sbatch"]:
        do = "run 'hpo-batch submit' from here: jobs cannot submit jobs there"
        yield Level.NOTE, "nodes", f"sbatch does not work there: {facts['sbatch']['failed']}", do
    if "said" in facts["scontrol"] and "said" in facts["sbatch"]:
        yield Level.FINE, "nodes", "scontrol and sbatch work there", ""
    if order.with_gpus:
        yield from _gpus(facts, order.job)


def _python(one: Mapping[str, Any], job: Job) -> Iterator[Told]:
    here = ".".join(map(str, sys.version_info[:3]))
    is_ours = f"'{one['python']}' (Python {one['version']})"
    install = "install hpo-batch into that Python, or set [job] python or setup to another one"
    if "no_facts" in one:
        yield Level.BAD, "python", f"{is_ours} cannot load hpo-batch: {one['no_facts']}", install
    elif "facts" not in one:
        yield Level.BAD, "python", f"{is_ours} ended while it loaded hpo-batch", install
    elif one["facts"]["lacking"]:
        yield Level.BAD, "python", f"{is_ours} lacks {', '.join(one['facts']['lacking'])}", install
    elif one["facts"]["hpo_batch"] != __version__:
        what = f"{is_ours} has hpo-batch {one['facts']['hpo_batch']}, here it is {__version__}"
        yield Level.NOTE, "python", what, install
    elif one["version"].split(".")[:2] != here.split(".")[:2] and job.python is None:
        yield Level.NOTE, "python", f"{is_ours}, here it is Python {here}", "install the same Python there"
    else:
        yield Level.FINE, "python", f"{is_ours}, hpo-batch {__version__} from '{one['facts']['place']}'", ""


def _gpus(facts: Mapping[str, Any], job: Job) -> Iterator[Told]:
    asked = job.gres or job.gpus_per_node or ""
    names, torch = facts["gpus"], (facts["torch"] or {}).get("said") or (facts["torch"] or {}).get("failed", "")
    if not facts["given"]:
        what = f"SLURM gave no GPU (CUDA_VISIBLE_DEVICES) for '{asked}'"
        yield Level.BAD, "gpus", what, "set [job] gres or gpus_per_node as 'sinfo -o \"%P %G\"' has it"
        return
    kind = gpu_type(asked)
    if kind and names and not any(kind in name.lower() for name in names):
        yield (
            Level.NOTE,
            "gpus",
            f"'{asked}' was asked for, nvidia-smi shows {', '.join(names)}",
            "is that the one meant?",
        )
    if torch == "cuda":
        yield Level.FINE, "gpus", f"torch sees the GPU ({', '.join(names) or ','.join(facts['given'])})", ""
    elif torch == "no torch":
        yield Level.NOTE, "gpus", "that Python has no torch: whether it can use the GPU was not tried", ""
    else:
        what = f"GPU {','.join(facts['given'])} was given, but {torch or 'the probe of torch failed'}"
        yield Level.BAD, "gpus", what, 'install a CUDA build of torch there, or set [job] device = "cpu"'


def gpu_type(asked: str) -> str:
    """``a100`` of "gpu:a100:1", "a100:1" and "gpu:a100_1g.10gb:1"; empty if none is asked for."""
    words = [word for word in asked.lower().removeprefix("gres/").split(":") if word != "gpu" and not word.isdecimal()]
    return re.split(r"[_.-]", words[0])[0] if words else ""


def clocks(offsets: Mapping[str, Sequence[float]]) -> Finding:
    """How far the clocks are apart, each known by its distance from that of the file server."""
    middle = {name: (low + high) / 2 for name, (low, high) in offsets.items()}
    behind, ahead = max(middle, key=lambda name: middle[name]), min(middle, key=lambda name: middle[name])
    apart_s = middle[behind] - middle[ahead]
    server_s = max(middle.values(), key=abs)
    what = (
        f"clocks of nodes and this host are at most {apart_s:.1f} s apart, {abs(server_s):.1f} s from the file server"
    )
    if max(apart_s, abs(server_s)) <= CLOCKS_APART_S:
        return _fine("clocks", what)
    what += f": {ahead} is ahead of {behind}" if apart_s > CLOCKS_APART_S else ""
    do = "times in tables are off by that; hpo-batch itself compares no clocks of hosts. Tell your administrators (NTP)"
    return _note("clocks", what, do)


def _fine(about: str, what: str) -> Finding:
    return Finding(level=Level.FINE, about=about, what=what)


def _note(about: str, what: str, do: str = "") -> Finding:
    return Finding(level=Level.NOTE, about=about, what=what, do=do)


def _bad(about: str, what: str, do: str) -> Finding:
    return Finding(level=Level.BAD, about=about, what=what, do=do, code=Exit.SLURM)
