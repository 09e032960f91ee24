"""Train a configuration several times: several seeds per trial, or trials that repeat an earlier one.

``[study] replicates`` gives each trial several seeds of its own, ``[study] seeds`` the same to all, and their metrics
are stored beside the means. With ``[sampler]
duplicates = "replicate"``, a configuration that the sampler proposes again becomes a new trial with another seed.
"""

from __future__ import annotations

import hashlib
import math
import statistics
from collections.abc import Mapping, Sequence

from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import TrialState
from hpo_batch.sweep.schema import Sweep


def seeds_of(sweep: Sweep, number: int) -> tuple[int, ...]:
    """A trial's seeds: those of ``[study] seeds``, else from the study's seed and the trial's number.

    Of the latter the first is also the seed without replicates.
    """
    if sweep.study.seeds:
        return sweep.study.seeds
    first = f"{sweep.sampler.seed}:{number}"
    texts = [first, *(f"{first}:{i}" for i in range(1, sweep.study.replicates))]
    return tuple(int.from_bytes(hashlib.blake2b(text.encode(), digest_size=4).digest(), "big") for text in texts)


def finite(replicates: Sequence[Mapping[str, float]]) -> list[dict[str, float]]:
    """The metrics of each seed without NaN and infinity, which JSON cannot hold."""
    return [{name: value for name, value in metrics.items() if math.isfinite(value)} for metrics in replicates]


def may_repeat(sweep: Sweep, earlier: ScannedTrial) -> bool:
    """Whether a configuration may be trained again with another seed; never if its trial failed or was pruned."""
    wanted = sweep.sampler.duplicates == "replicate"
    return wanted and earlier.state in (TrialState.RUNNING, TrialState.COMPLETE)


def mean_values(trials: Sequence[ScannedTrial]) -> tuple[float, ...] | None:
    """The mean of each metric over the complete trials of one configuration; None if none is complete.

    Trials that took their result from another trial are not counted twice.
    """
    own = [t.values for t in trials if t.state is TrialState.COMPLETE and t.values and "repeats" not in t.facts]
    return tuple(statistics.mean(column) for column in zip(*own, strict=True)) if own else None
