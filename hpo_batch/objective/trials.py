"""``Trials``: what a user's ``train_many`` gets instead of one trial. Independent of the study, as ``Trial`` is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from hpo_batch.errors import UserError
from hpo_batch.objective.trial import Trial


class Slots(Protocol):
    """What ``Trials`` needs from its worker."""

    def take(self, at_most: int) -> Sequence[Trial]:
        """New trials of the block's shape, running from here on."""
        ...

    def end(self, trial: Trial, result: object) -> None:
        """Record how a trial ended; its slot is free."""
        ...


class Trials:
    """Trials of one shape to train together in one process: the argument of your ``train_many``.

    ::

        def train_many(trials: hpo_batch.Trials) -> None:
            running = []
            while running := running + trials.take():
                train_one_epoch(running)
                for trial in list(running):
                    trial.report(epoch_of[trial], val_auc=auc_of[trial])
                    if is_finished(trial):
                        trials.end(trial, auc_of[trial])
                    elif trial.should_stop():
                        save(trial.checkpoint)
                        trials.end(trial, None)
                    else:
                        continue
                    running.remove(trial)

        train_many.shape = ("d_model", "n_layers")

    ``shape`` names the parameters that are equal for all of them. Parameters that a sweep does not have may be named.
    """

    size: int
    """the most that may run at once: ``[job] fuse``"""
    cpus: int
    """CPU cores for all of them together"""
    device: Literal["cuda", "cpu"]

    def __init__(self, slots: Slots, *, size: int, cpus: int, device: Literal["cuda", "cpu"]) -> None:
        self.size = size
        self.cpus = cpus
        self.device = device
        self._slots = slots
        self._running: list[Trial] = []

    def take(self, at_most: int | None = None) -> list[Trial]:
        """New trials: at first up to ``size``, later as many as have ended since. Empty if there is none, at least now.

        Each must be given to ``end`` before your function returns. When it has returned, it is called again with trials
        of another shape.

        Args:
            at_most: take no more than these.
        """
        room = self.size - len(self._running)
        count = room if at_most is None else min(at_most, room)
        taken = list(self._slots.take(max(0, count)))
        self._running += taken
        return taken

    def end(self, trial: Trial, result: object) -> None:
        """End a trial as if a function of its own had returned ``result``, or raised it if it is an exception.

        Raises:
            ValueError: the trial is not running here.
        """
        if all(trial is not running for running in self._running):
            raise ValueError(f"{trial} has ended already, or is not one of these trials")
        self._running = [running for running in self._running if running is not trial]
        self._slots.end(trial, result)


@dataclass(frozen=True, kw_only=True)
class ManyFunction:
    """A user's ``train_many``."""

    function: Callable[[Trials], object]
    shape: tuple[str, ...]


def read_many(found: Callable[..., object], *, spec: str) -> ManyFunction:
    """A function found under the name ``train_many``.

    Raises:
        UserError: it does not say which parameters make the shape.
    """
    shape = getattr(found, "shape", None)
    if not isinstance(shape, Sequence) or isinstance(shape, str) or not all(isinstance(name, str) for name in shape):
        raise UserError(
            f"'{spec}' needs a shape, the names of the parameters that trials must have in common to be trained "
            'together; write below the function: train_many.shape = ("d_model", "n_layers")'
        )
    return ManyFunction(function=found, shape=tuple(shape))
