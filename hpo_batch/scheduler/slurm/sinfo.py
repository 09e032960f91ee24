"""Runs sinfo: which nodes there are (https://slurm.schedmd.com/sinfo.html)."""

from __future__ import annotations

import re
from typing import Final

from hpo_batch.scheduler.scheduler import ANSWER_S
from hpo_batch.scheduler.site import NodeKind
from hpo_batch.scheduler.slurm.runner import failure, run_command, seconds

# partition (with a * behind the default one), availability, time limit, nodes, CPUs, memory in MB, generic resources
FORMAT: Final = "%P|%a|%l|%D|%c|%m|%G"


def node_kinds(*, timeout_s: float = ANSWER_S) -> tuple[NodeKind, ...]:
    """The nodes of all partitions that this user sees.

    Raises:
        CommandMissing: there is no sinfo on this machine.
        SlurmUnreachable: no answer, or no controller.
        SlurmRefused: it failed for another reason.
    """
    done = run_command(["sinfo", "--noheader", "--format", FORMAT], timeout_s=timeout_s)
    if done.returncode != 0:
        raise failure("sinfo", done)
    return parse_nodes(done.stdout)


def parse_nodes(text: str) -> tuple[NodeKind, ...]:
    """Parse lines of ``FORMAT``; others are left out."""
    kinds = []
    for line in text.splitlines():
        fields = [field.strip() for field in line.split("|")]
        if len(fields) != FORMAT.count("|") + 1:
            continue
        partition, available, limit, nodes, cpus, memory, gres = fields
        gpu, gpus = _gpus(gres)
        kinds.append(
            NodeKind(
                partition=partition.removesuffix("*"),
                is_default=partition.endswith("*"),
                is_up=available == "up",
                max_time_s=seconds(limit),
                nodes=_number(nodes),
                cpus=_number(cpus),
                mem_gb=round(_number(memory) / 1024, 1) or None,
                gpu=gpu,
                gpus=gpus,
            )
        )
    return tuple(kinds)


def _gpus(gres: str) -> tuple[str, int]:
    """Type and number of a node's GPUs: the first type, if there are several.

    Such as ``gpu:a100:4(S:0-1),shard:16``, ``gpu:2``, ``gpu:a100_1g.10gb:7`` and ``(null)``.
    """
    found = re.search(r"(?:^|,)gpu(?::([A-Za-z][\w.+-]*))?(?::(\d{1,6}))?(?=[(,]|$)", gres)
    return ("", 0) if found is None else (found[1] or "", int(found[2] or 1))


def _number(text: str) -> int:
    """A number with ``+`` behind it where nodes differ: the least of them; 0 for anything else."""
    found = re.match(r"\d{1,12}", text)
    return int(found[0]) if found else 0
