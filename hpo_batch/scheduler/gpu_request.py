"""How many GPUs a job asks for, whichever of sbatch's options says so.

The one place that knows which options those are (https://slurm.schedmd.com/sbatch.html#OPT_gpus). The layout of array
tasks, the script, the caller's ``SBATCH_*`` variables, the record of a submission and the idle hours of ``status`` all
ask here: they must agree, or a task gets more workers than its CPUs were planned for.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from hpo_batch.scheduler.integers import is_integer

OPTIONS: Final = frozenset({"gres", "gpus", "gpus-per-node", "gpus-per-task", "gpus-per-socket", "tres-per-task"})
"""long names of the options of sbatch that can ask for GPUs"""
_OF_ANY_RESOURCE: Final = ("gres", "tres-per-task")
"""options that may ask for something else: the others name GPUs only, and leave out the word"""
_GPU: Final = re.compile(r"(?:gres[/:])?gpu(?:[:=](.*))?")
"""``gpu``, ``gpu:2``, ``gpu:a100:2``, ``gres/gpu:2``, ``gres:gpu:2``, ``gres/gpu:a100=2``: the name and the rest"""


@dataclass(frozen=True, kw_only=True)
class GpuRequest:
    """What a job asks for."""

    options: Mapping[str, str]
    """options of sbatch that decide about its GPUs, by long names"""
    count: int | None
    """GPUs on all its nodes; None if they depend on the node: of each socket, without the number of sockets"""

    @property
    def text(self) -> str:
        """As SLURM spells it, for people; empty if no GPU is asked for."""
        return next(iter(self.options.values()), "") if self.count != 0 else ""


def gpu_request(
    keys: Mapping[str, object], options: Mapping[str, object], *, nodes: int, tasks_per_node: int
) -> GpuRequest:
    """The GPUs of a job.

    Args:
        keys: options that ``[job]`` has keys for, or that a template gives.
        options: those of ``[job.sbatch]``. If one of them speaks of GPUs, they stand in the place of ``keys``.
    """
    named = {name.replace("_", "-"): value for name, value in options.items()}
    chosen = about_gpus(named) or about_gpus(keys)
    amounts = {option: _amount(option, value) for option, value in chosen.items()}
    tasks = nodes * tasks_per_node
    # The total is what counts where it is given; of the others sbatch takes one.
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
    """Those of some options of sbatch that decide about GPUs, by long names, with their values as text."""
    given = {name: str(value) for name, value in options.items() if value is not None and value is not False}
    return {name: value for name, value in given.items() if speaks_of_gpus(name, value)}


def speaks_of_gpus(option: str, value: str) -> bool:
    """Whether an option decides about GPUs, be it that there are none: ``--gres=none``, but not ``--gres=shard:2``."""
    if option not in OPTIONS:
        return False
    if option not in _OF_ANY_RESOURCE:
        return True
    return value.strip().lower() == "none" or any(_GPU.fullmatch(part) for part in _parts(value))


def count_gpus(text: str | None) -> int:
    """GPUs in a value of any of the options: ``4``, ``a100:1,v100:2``, ``gpu:a100:2(S:0-1)``."""
    return sum(_count(part) for part in _parts(text or ""))


def _amount(option: str, value: str) -> int:
    parts = _parts(value)
    return sum(_count(part) for part in parts if option not in _OF_ANY_RESOURCE or _GPU.fullmatch(part))


def _parts(value: str) -> list[str]:
    """Without where the devices are to be: ``gpu:2(S:0-1)``, in which a comma separates nothing."""
    return [part.strip() for part in re.sub(r"\([^()]*\)", "", value).split(",")]


def _count(part: str) -> int:
    """Of one type; a name or a type alone is one."""
    match = _GPU.fullmatch(part)
    amount = re.split("[:=]", (match[1] or "1") if match else part)[-1]
    return int(amount) if is_integer(amount) else int(amount not in ("", "none"))
