"""Which models gain nothing from several GPUs or nodes for one trial."""

from __future__ import annotations

from typing import Final

from hpo_batch.text.numbers import size_range

SMALL: Final = 100_000_000
"""Parameters. With AdamW in float32 they take 1.6 GB, 16 bytes each: one GPU has room for such a model.

Trials side by side, each on its own GPU, exchange nothing. Ranks exchange 4 bytes per parameter in each step and wait
for the slowest: while a trial fits onto one GPU they get fewer trials done in an hour, and only make each shorter. A
small model gains not even that, because its steps are mostly fixed costs, which a smaller batch does not shorten."""


def why_no_gain(n_params: int, *, ranks: int) -> str | None:
    """A warning if a model is too small to be trained by several processes.

    Args:
        n_params: its trainable parameters; of several models, those of the largest.
        ranks: processes of a trial, ``[job] nodes`` times ``tasks_per_node``.
    """
    if ranks == 1 or n_params >= SMALL:
        return None
    return (
        f"each trial is trained by {ranks} processes together, but a model of {_short(n_params)} parameters gains "
        f"nothing from that (below {_short(SMALL)}): one process per trial gets more trials done; remove job.nodes "
        "and job.tasks_per_node (with GPUs, set job.workers_per_gpu = 1)"
    )


def _short(n_params: int) -> str:
    return size_range((n_params, n_params))
