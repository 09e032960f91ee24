"""What every sampler is made of: a ``Source`` of candidates, or a ``Model`` that Optuna drives; and their parts."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, Value
from hpo_batch.space.space import Space
from hpo_batch.sweep.schema import Sweep

if TYPE_CHECKING:
    import optuna

IsNew = Callable[[Mapping[str, Value]], bool]

SPARES = 16
"""unseen cells that are offered with each other, for the case that other workers take the first ones"""
RANDOM_DRAWS = 1024
"""random configurations of a space whose cells cannot be listed, before it is given up"""


@dataclass(frozen=True, kw_only=True)
class Candidate:
    configuration: Configuration
    origin: str
    facts: Mapping[str, Any] = field(default_factory=dict)
    """kept with the trial: ``sampler``, the attributes that Optuna's sampler set; ``index``, its place in a sequence"""


@dataclass(frozen=True, kw_only=True)
class Draw:
    candidates: list[Candidate]
    """unseen and valid, best first"""
    used_up: bool = False
    """there is no other"""
    refused: str = ""
    """if none is valid, as far as can be told: what spoke against most of them"""


class Source(Protocol):
    """Where the configurations of one quota arm come from. It lives as long as the revision of the sweep."""

    def draw(self, state: JournalState, *, seed: int, again: bool, count: int = 1) -> Draw:
        """Configurations that nobody has tried.

        Args:
            again: others took what the last draw gave: offer more.
            count: trials that are claimed together: as many proposals.
        """
        ...

    def after_trial(
        self, state: JournalState, trial: ScannedTrial, ended: str, values: tuple[float, ...] | None
    ) -> Mapping[str, Any]:
        """What the sampler wants noted with a trial that ends now: Optuna's ``after_trial``.

        Args:
            ended: ``COMPLETE``, ``PRUNED`` or ``FAIL``.
        """
        return {}


class Unseen:
    """Configurations nobody has tried, out of a list that is walked through once: what was tried stays tried."""

    def __init__(self, cells: Iterator[Configuration]) -> None:
        self._cells = cells
        self._kept: dict[str, Configuration] = {}

    def first(self, count: int, *, tried: Container[str]) -> list[Configuration]:
        """At most ``count``, in the order of the list; none if there are none left."""
        self._kept = {key: configuration for key, configuration in self._kept.items() if key not in tried}
        while len(self._kept) < count:
            configuration = next(self._cells, None)
            if configuration is None:
                break
            if configuration.key not in tried:
                self._kept[configuration.key] = configuration
        return list(self._kept.values())[:count]


class Refusals:
    """What spoke against the configurations that were drawn."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}

    def note(self, why: str) -> None:
        self._count[why] = self._count.get(why, 0) + 1

    def __bool__(self) -> bool:
        return bool(self._count)

    def summary(self) -> str:
        worst = max(self._count, key=lambda why: self._count[why])
        return f"no valid configuration in {sum(self._count.values())} draws; most often: {worst}"


@dataclass(frozen=True, kw_only=True)
class ModelRequest:
    """What a model is made for."""

    sweep: Sweep
    space: Space
    """in which it proposes: that of the arm, or one cell of it"""
    seed: int
    is_new: IsNew
    """whether values of all searched parameters are valid and were not tried"""

    @property
    def options(self) -> dict[str, Any]:
        return self.sweep.sampler.options

    @property
    def startup(self) -> int:
        return self.sweep.sampler.startup_trials


@dataclass(frozen=True, kw_only=True)
class Model:
    """A sampler of Optuna's kind: how it is made for a proposal, and how much history it is given."""

    make: Callable[[ModelRequest], optuna.samplers.BaseSampler]
    max_trials: int | None = None
    """the newest so many trials are shown to it, since a proposal takes longer with each; None: all"""
    max_proposals: int = 8
    """proposals of a model that keeps proposing what was tried, before others are taken"""
    needs_whole_space: bool = False
    """it knows one space only: where a cell is wanted, the rest of its proposal is taken"""
    is_kept: bool = False
    """the instance lives as long as the sweep's revision, and hears of the end of trials"""
    attrs_of_others: Mapping[str, Any] | None = None
    """attributes that it would have set on the trials it has not drawn"""
