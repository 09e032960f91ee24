"""What a node offers to a worker. Runs on the node, started by ``doctor.contention`` with the workers' Python."""

from __future__ import annotations

import importlib.util
import os
import socket
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import hpo_batch
from hpo_batch.errors import HpoBatchError
from hpo_batch.launch.environment import environment_for
from hpo_batch.processes import run
from hpo_batch.scheduler.gpus import local_gpus, visible
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.scheduler import JobCommand
from hpo_batch.worker.devices import PROBE

STARTED = "worker-started"
"""prefix of the files that show that a worker has started"""
NEEDED = ("submitit", "optuna", "pydantic", "msgspec", "filelock")
"""what a worker imports besides hpo-batch"""


@dataclass(frozen=True)
class Probe:
    """Started by ``doctor`` in place of a worker, in the same way: pickled, by submitit's runner."""

    folder: str

    def __call__(self) -> int:
        name = f"{STARTED}.{socket.gethostname()}.{os.environ.get('SLURM_PROCID', '0')}"
        (Path(self.folder) / name).touch()
        return 0


def facts(question: dict[str, Any]) -> dict[str, Any]:
    """The facts that ``node_answers`` judges, as JSON."""
    return {
        "hpo_batch": hpo_batch.__version__,
        "place": str(Path(hpo_batch.__file__).parent),
        "prefix": sys.prefix,
        "lacking": [name for name in NEEDED if importlib.util.find_spec(name) is None],
        "scontrol": _said(lambda: str(BATCH.array_limit())),
        "sbatch": _said(lambda: _try_sbatch(Path(question["script"]))),
        "given": list(visible(os.environ) or ()),
        "gpus": [gpu.name for gpu in local_gpus(os.environ)],
        "torch": _said(_torch) if question["gpus"] else None,
    }


def _try_sbatch(script: Path) -> str:
    env = environment_for(script.read_text(encoding="utf-8"), os.environ)
    return BATCH.check(JobCommand(argv=(str(script),), env=env))


def _torch() -> str:
    return run([sys.executable, "-c", PROBE], timeout_s=120).stdout.strip()


def _said(ask: Callable[[], str]) -> dict[str, str]:
    try:
        return {"said": ask()}
    except HpoBatchError as error:
        return {"failed": str(error)}
