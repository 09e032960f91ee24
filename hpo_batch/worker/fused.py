"""How many trials a worker trains together, and what it does when that fails."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hpo_batch.objective.function import FunctionObjective
from hpo_batch.objective.trials import ManyFunction
from hpo_batch.records import Claim, Reason
from hpo_batch.worker.context import WorkerContext
from hpo_batch.worker.walltime import Fits

if TYPE_CHECKING:  # see context
    from hpo_batch.study.alike import Alike
    from hpo_batch.worker.block import BlockEnd

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Fused:
    """A worker's blocks."""

    context: WorkerContext
    many: ManyFunction | None
    """None: one trial at a time"""
    size: int = 1
    """trials of a block"""

    @classmethod
    def of(cls, context: WorkerContext) -> Fused:
        """As the sweep has it. Its later revisions may change the number, and then need a new worker."""
        objective = context.objective
        many = objective.many if isinstance(objective, FunctionObjective) else None
        size = 1 if many is None else context.study.sweep.job.fused
        return cls(context=context, many=many if size > 1 else None, size=size)

    @property
    def alike(self) -> Alike | None:
        """What is asked of the trials of a block; None for one trial at a time."""
        if self.many is None:
            return None
        from hpo_batch.study.alike import Alike

        return Alike(names=self.many.shape, size=self.size)

    def run(self, claims: Sequence[Claim], *, fits: Fits) -> BlockEnd:
        """Run a block. If ``train_many`` fails with several trials running, the next blocks are smaller, or none.

        Raises:
            StorageError: see ``Block.run``.
        """
        from hpo_batch.worker.block import Block

        assert self.many is not None
        assert self.alike is not None
        ended = Block(self.context, self.many, claims, alike=self.alike, fits=fits).run()
        if ended.failed is not None:
            self._note_failure(ended.failed, running=len(ended.alone))
        return ended

    def _note_failure(self, reason: Reason, *, running: int) -> None:
        """Nobody knows which trial is to blame, so they go on alone, and the guilty one fails alone."""
        is_memory = reason in (Reason.OOM_GPU, Reason.OOM_HOST)
        self.size = running // 2 if is_memory else 1
        if self.size < 2:
            self.many, self.size = None, 1
        what = f"out of memory with {running} trials" if is_memory else f"train_many failed with {running} trials"
        after = f"blocks have at most {self.size} trials" if self.size > 1 else "this worker trains one trial at a time"
        log.warning("%s (see their stderr): these go on one by one, and from here on %s", what, after)
