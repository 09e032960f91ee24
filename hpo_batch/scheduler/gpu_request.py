"""Counts the GPUs a job requests, with any of sbatch's options.

Only this module knows these options (https://slurm.schedmd.com/sbatch.html#OPT_gpus). The layout of array tasks, the
script, ``SBATCH_*`` variables, submissions and the idle hours of ``status`` all use it: if they disagreed, a task
could get more workers than CPUs.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from msgspec import Struct

from hpo_batch.scheduler.integers import is_integer

OPTIONS: Final = frozenset({"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "tres-per-task"})
"""long names of sbatch's options that can request GPUs"""
# options that can request other resources as well, so that their values name ``gpu``
_OF_ANY_RESOURCE: Final = ("gres", "tres-per-task")
# ``gpu``, ``gpu:2``, ``gpu:a100:2``, ``gres/gpu:2``, ``gres:gpu:2``, ``gres/gpu:a100=2``; group 1: after the name
_GPU: Final = re.compile(r"(?:gres[/:])?gpu(?:[:=](.*))?")


class GpuRequest(Struct, frozen=True, kw_only=True):
    """The GPUs a job requests."""

    options: Mapping[str, str]
    """sbatch's options that determine its GPUs, by long name"""
    count: int | None
    """GPUs over all nodes; None if it depends on the node (GPUs per socket, with an unknown number of sockets)"""

    @property
    def text(self) -> str:
        """In SLURM's notation, for people; empty if no GPU is requested."""
        return next(iter(self.options.values()), "") if self.count != 0 else ""


def gpu_request(
    keys: Mapping[str, object], options: Mapping[str, object], *, nodes: int, tasks_per_node: int
) -> GpuRequest:
    """The GPUs of a job.

    Args:
        keys: options set by keys of ``[job]``, or by a template.
        options: those of ``[job.sbatch]``. If any of them is about GPUs, they replace ``keys``.
        nodes: of the job.
        tasks_per_node: of the job.
    """
    # TOML keys may be written with underscores
    named = {name.replace("_", "-"): value for name, value in options.items()}
    chosen = about_gpus(named) or about_gpus(keys)
    amounts = {option: _amount(option, value) for option, value in chosen.items()}
    tasks = nodes * tasks_per_node
    # a total takes precedence; of the other options sbatch accepts one
    for option, times in (("gpus", 1), ("gpus-per-task", tasks), ("tres-per-task", tasks)):
        if option in amounts:
            return GpuRequest(options=chosen, count=amounts[option] * times)
    per_node = amounts.get("gres", 0) + amounts.get("gpus-per-node", 0)
    per_socket = amounts.get("gpus-per-socket", 0)
    if per_node or not per_socket:
        return GpuRequest(options=chosen, count=per_node * nodes)
    sockets = str(named.get("sockets-per-node", ""))
    count = per_socket * int(sockets) * nodes if is_integer(sockets) else None
    return GpuRequest(options=chosen, count=count)


def about_gpus(options: Mapping[str, object]) -> dict[str, str]:
    """The options among ``options`` that are about GPUs, by long name, with their values as text."""
    texts = {name: str(value) for name, value in options.items() if value is not None and value is not False}
    return {name: text for name, text in texts.items() if speaks_of_gpus(name, text)}


def speaks_of_gpus(option: str, value: str) -> bool:
    """Whether an option is about GPUs, or requests none: ``--gres=none``, but not ``--gres=shard:2``."""
    if option not in OPTIONS:
        return False
    if option not in _OF_ANY_RESOURCE:
        return True
    return value.strip().lower() == "none" or any(_GPU.fullmatch(part) for part in _parts(value))


def count_gpus(text: str | None) -> int:
    """Number of GPUs in a value of any of these options: ``4``, ``a100:1,v100:2``, ``gpu:a100:2(S:0-1)``."""
    return sum(_count(part) for part in _parts(text or ""))


def _amount(option: str, value: str) -> int:
    parts = _parts(value)
    return sum(_count(part) for part in parts if option not in _OF_ANY_RESOURCE or _GPU.fullmatch(part))


def _parts(value: str) -> list[str]:
    """The comma-separated parts, without socket lists such as ``(S:0-1)``, which may contain commas."""
    return [part.strip() for part in re.sub(r"\([^()]*\)", "", value).split(",")]


def _count(part: str) -> int:
    """Number of GPUs in one part; a type without a number means one."""
    match = _GPU.fullmatch(part)
    amount = re.split("[:=]", (match[1] or "1") if match else part)[-1]
    return int(amount) if is_integer(amount) else int(amount not in ("", "none"))
