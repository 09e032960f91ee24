"""A job template for the cluster that this machine belongs to, from what its scheduler says of its nodes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from hpo_batch.errors import CommandMissing, SlurmError
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.scheduler.site import NodeKind
from hpo_batch.sweep.walltime import format_walltime
from hpo_batch.text.lines import printable
from hpo_batch.text.names import plain_name
from hpo_batch.text.values import toml_line

_WALLTIME_S: Final = 4 * 3600.0
_MOST_CPUS: Final = 16
_TAKEN: Final = ("local", "cpu", "a100", "a100-shared", "collector")
"""names of the templates that come with hpo-batch"""


@dataclass(frozen=True, kw_only=True)
class SiteTemplate:
    name: str
    text: str


def site_template(environ: Mapping[str, str]) -> tuple[SiteTemplate | None, str]:
    """The template, and one line on what was found or why there is none."""
    if not BATCH.is_here():
        return None, "no job template: there is no SLURM on this machine (sbatch is not on PATH)"
    try:
        kinds = BATCH.node_kinds()
        cluster = BATCH.cluster(environ)
    except (SlurmError, CommandMissing) as error:
        why = str(error).split("; ")[0]  # SLURM says in several lines that its controller is not there
        return None, f"no job template, since SLURM does not tell which nodes there are: {why}"
    kind = _chosen(kinds)
    if kind is None:
        return None, "no job template: sinfo shows no partition that is up"
    name = plain_name(cluster) or "site"
    name = f"{name}-slurm" if name in _TAKEN else name
    text = _text(kind, kinds, name)
    return SiteTemplate(name=name, text=text), f"job_templates/{name}.toml is for {_described(kind)}, by sinfo"


def _chosen(kinds: Sequence[NodeKind]) -> NodeKind | None:
    """Nodes with GPUs before others, the default partition before others, then most nodes."""
    up = [kind for kind in kinds if kind.is_up and kind.nodes]
    return max(up, key=lambda kind: (kind.gpus > 0, kind.is_default, kind.nodes), default=None)


def _text(kind: NodeKind, kinds: Sequence[NodeKind], name: str) -> str:
    share = max(1, min(_MOST_CPUS, kind.cpus // max(1, kind.gpus)))
    walltime_s = min(_WALLTIME_S, kind.max_time_s or _WALLTIME_S)
    lines = [
        f"# {printable(name)}: what each worker asks for, from what sinfo says. Keys as in [job]; a sweep's own [job]",
        "# overrides them. Your site's documentation has the account, the modules and the partitions for your jobs.",
        'scheduler = "slurm"',
        f"{toml_line('partition', kind.partition)}   # {_described(kind)}",
    ]
    if kind.gpus:
        gres = f"gpu:{kind.gpu}:1" if kind.gpu else "gpu:1"
        lines.append(f'{toml_line("gres", gres)}   # sites without --gres: gpus_per_node = "{gres[4:]}"')
    lines += [
        f"cpus = {share}" + ("   # a GPU's share of a node, 16 at most" if kind.gpus else ""),
        f"{toml_line('walltime', format_walltime(walltime_s))}",
        f"{toml_line('device', 'auto' if kind.gpus else 'cpu')}",
        '# account = "my-project"',
        f"# mem_gb = {_memory(kind, share)}            # left out: the partition's default",
        "",
        "# Shell lines that run on the node before the worker starts.",
        "setup = [",
        '  # "module load python/3.11 cuda/12.4",                                   # environment modules',
        '  # "source ~/miniconda3/etc/profile.d/conda.sh", "conda activate sweep",  # conda',
        "]",
    ]
    others = [other for other in kinds if other is not kind and other.is_up]
    if others:
        lines += ["", "# Other nodes:", *(f"#   {_described(other)}" for other in others)]
    return "\n".join(lines) + "\n"


def _memory(kind: NodeKind, cpus: int) -> int:
    """A worker's share of a node's memory, in whole GB."""
    part = 1 / kind.gpus if kind.gpus else cpus / max(1, kind.cpus)
    return max(1, int((kind.mem_gb or 16) * part))


def _described(kind: NodeKind) -> str:
    nodes = f"{kind.nodes} node{'' if kind.nodes == 1 else 's'}"
    gpus = f"{kind.gpus} x {kind.gpu or 'GPU'}, " if kind.gpus else ""
    memory = f", {kind.mem_gb:.0f} GB" if kind.mem_gb else ""
    limit = f", up to {format_walltime(kind.max_time_s)}" if kind.max_time_s else ""
    return printable(f"partition {kind.partition}: {nodes} with {gpus}{kind.cpus} CPUs{memory}{limit}")
