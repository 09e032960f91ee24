"""What the answers of two nodes mean (``doctor.node_facts`` gives them). Pure functions."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final

from hpo_batch import __version__
from hpo_batch.doctor.finding import Finding, bad_site, fine, note
from hpo_batch.doctor.node_job import Order
from hpo_batch.sweep.schema import Job

CLOCKS_APART_S: Final = 5.0
"""NTP keeps hosts within milliseconds; a few seconds in a table of hours disturb nobody"""


def node_findings(one: Mapping[str, Any], order: Order) -> Iterator[Finding]:
    """Findings from one node's answer, without its name, since two nodes often give the same."""
    yield from _python(one, order.job)
    if one["unseen"]:
        what = f"not there: {', '.join(one['unseen'])}"
        yield bad_site("nodes", what, "put it where all nodes see it: a shared file system, not a disk of this machine")
    elif one["cwd"] != str(order.workdir):
        what = f"jobs start in '{one['cwd']}', not in '{order.workdir}'"
        yield bad_site("nodes", what, "submit from a folder that all nodes see")
    else:
        yield fine("nodes", "the working directory, this Python and the logs directory are there")
    facts = one.get("facts")
    if facts is None:
        return
    if "failed" in facts["scontrol"]:
        do = "submit again when workers are short: one at its time limit cannot ask for another run"
        yield note("nodes", f"scontrol does not work there: {facts['scontrol']['failed']}", do)
    if "failed" in facts["sbatch"]:
        do = "run 'hpo-batch submit' from here: jobs cannot submit jobs there"
        yield note("nodes", f"sbatch does not work there: {facts['sbatch']['failed']}", do)
    if "said" in facts["scontrol"] and "said" in facts["sbatch"]:
        yield fine("nodes", "scontrol and sbatch work there")
    if order.with_gpus:
        yield from _gpus(facts, order.job)


def _python(one: Mapping[str, Any], job: Job) -> Iterator[Finding]:
    here = ".".join(map(str, sys.version_info[:3]))
    is_ours = f"'{one['python']}' (Python {one['version']})"
    install = "install hpo-batch into that Python, or set [job] python or setup to another one"
    if "no_facts" in one:
        yield bad_site("python", f"{is_ours} cannot load hpo-batch: {one['no_facts']}", install)
    elif "facts" not in one:
        yield bad_site("python", f"{is_ours} ended while it loaded hpo-batch", install)
    elif one["facts"]["lacking"]:
        yield bad_site("python", f"{is_ours} lacks {', '.join(one['facts']['lacking'])}", install)
    elif one["facts"]["hpo_batch"] != __version__:
        what = f"{is_ours} has hpo-batch {one['facts']['hpo_batch']}, here it is {__version__}"
        yield note("python", what, install)
    elif one["version"].split(".")[:2] != here.split(".")[:2] and job.python is None:
        yield note("python", f"{is_ours}, here it is Python {here}", "install the same Python there")
    else:
        yield fine("python", f"{is_ours}, hpo-batch {__version__} from '{one['facts']['place']}'")


def _gpus(facts: Mapping[str, Any], job: Job) -> Iterator[Finding]:
    request = job.gres or job.gpus_per_node or ""
    names, torch = facts["gpus"], (facts["torch"] or {}).get("said") or (facts["torch"] or {}).get("failed", "")
    if not facts["given"]:
        what = f"SLURM gave no GPU (CUDA_VISIBLE_DEVICES) for '{request}'"
        yield bad_site("gpus", what, "set [job] gres or gpus_per_node as 'sinfo -o \"%P %G\"' has it")
        return
    kind = gpu_type(request)
    # sites choose the names of types ("a100", "tesla_a100"), so a different name in nvidia-smi is no mistake in itself
    if kind and names and not any(kind in name.lower() for name in names):
        yield note("gpus", f"'{request}' was asked for, nvidia-smi shows {', '.join(names)}", "is that the one meant?")
    if torch == "cuda":
        yield fine("gpus", f"torch sees the GPU ({', '.join(names) or ','.join(facts['given'])})")
    elif torch == "no torch":
        yield note("gpus", "that Python has no torch: whether it can use the GPU was not tried")
    else:
        what = f"GPU {','.join(facts['given'])} was given, but {torch or 'the probe of torch failed'}"
        yield bad_site("gpus", what, 'install a CUDA build of torch there, or set [job] device = "cpu"')


def gpu_type(request: str) -> str:
    """``a100`` for "gpu:a100:1", "a100:1" and "gpu:a100_1g.10gb:1"; empty if no type is requested."""
    words = [
        word for word in request.lower().removeprefix("gres/").split(":") if word != "gpu" and not word.isdecimal()
    ]
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
        return fine("clocks", what)
    what += f": {ahead} is ahead of {behind}" if apart_s > CLOCKS_APART_S else ""
    do = "times in tables are off by that; hpo-batch itself compares no clocks of hosts. Tell your administrators (NTP)"
    return note("clocks", what, do)
