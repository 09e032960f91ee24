"""The two kinds of samplers, a ``Source`` of candidates and a ``Model`` that Optuna drives, and their parts."""

from __future__ import annotations

from collections.abc import Callable, Container, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.records import Configuration, Value
from hpo_batch.space.space import Space
from hpo_batch.sweep.schema import Sweep

if TYPE_CHECKING:
    import optuna

IsNew = Callable[[Mapping[str, Value]], bool]

# untried cells per draw: other workers may take the first ones before this worker has the lock
SPARES = 16
# candidates among which those of one shape are looked for, for each that is wanted
ALIKE = 64
# random draws in a space that is too large to list, before giving up
RANDOM_DRAWS = 1024


class Candidate(Struct, frozen=True, kw_only=True):
    configuration: Configuration
    origin: str
    facts: Mapping[str, Any] = {}
    """stored with the trial: ``sampler``, the attributes set by Optuna's sampler; ``index``, its place in a sequence"""


class Draw(Struct, frozen=True, kw_only=True):
    candidates: list[Candidate]
    """untried and valid, best first"""
    used_up: bool = False
    """whether no untried configuration is left"""
    refused: str = ""
    """the most frequent reason against the draws, if none of them was valid"""


class Source(Protocol):
    """Source of one quota arm's configurations. It lives as long as the sweep's revision."""

    def draw(self, state: JournalState, *, seed: int, again: bool, count: int = 1) -> Draw:
        """Untried configurations.

        Args:
            again: whether other workers took the candidates of the last draw: offer more.
            count: proposals wanted, one for each trial that is claimed together.
        """
        ...

    def draw_like(self, state: JournalState, like: Mapping[str, Value], *, seed: int, count: int) -> list[Candidate]:
        """Untried configurations with these values, as far as the source can find them.

        Args:
            like: values by name of a parameter or derived value. What does not have them is left out by the caller.
            count: how many are wanted.
        """
        return self.draw(state, seed=seed, again=False, count=ALIKE * count).candidates

    def after_trial(
        self, state: JournalState, trial: ScannedTrial, ended: str, values: tuple[float, ...] | None
    ) -> Mapping[str, Any]:
        """Attributes that the sampler stores with a trial that ends now, as in Optuna's ``after_trial``.

        Args:
            ended: ``COMPLETE``, ``PRUNED`` or ``FAIL``.
        """
        return {}


class Unseen:
    """Untried configurations from an iterator that is walked only once, since tried configurations stay tried."""

    def __init__(self, cells: Iterator[Configuration]) -> None:
        self._cells = cells
        self._ahead: dict[str, Configuration] = {}

    def first(self, count: int, *, tried: Container[str]) -> list[Configuration]:
        """The next ``count`` untried ones in the iterator's order; fewer if it is exhausted."""
        self._ahead = {key: configuration for key, configuration in self._ahead.items() if key not in tried}
        while len(self._ahead) < count:
            configuration = next(self._cells, None)
            if configuration is None:
                break
            if configuration.key not in tried:
                self._ahead[configuration.key] = configuration
        return list(self._ahead.values())[:count]


class Refusals:
    """Counts the reasons against drawn configurations."""

    def __init__(self) -> None:
        self._count: dict[str, int] = {}

    def note(self, why: str) -> None:
        self._count[why] = self._count.get(why, 0) + 1

    def __bool__(self) -> bool:
        return bool(self._count)

    def summary(self) -> str:
        most_common = max(self._count, key=lambda why: self._count[why])
        return f"no valid configuration in {sum(self._count.values())} draws; most often: {most_common}"


class ModelRequest(Struct, frozen=True, kw_only=True):
    """What a model is created for."""

    sweep: Sweep
    space: Space
    """the space to propose in: the arm's, or one cell of it"""
    seed: int
    is_new: IsNew
    """whether values of all searched parameters are valid and untried"""

    @property
    def options(self) -> dict[str, Any]:
        return self.sweep.sampler.options

    @property
    def startup(self) -> int:
        return self.sweep.sampler.startup_trials


class Model(Struct, frozen=True, kw_only=True):
    """A subclass of Optuna's BaseSampler: how to construct it, and how much history it sees."""

    make: Callable[[ModelRequest], optuna.samplers.BaseSampler]
    max_trials: int | None = None
    """size of the history, since each trial makes a proposal slower; None: all trials"""
    max_proposals: int = 8
    """repeated proposals before untried cells are used instead"""
    needs_whole_space: bool = False
    """whether it cannot propose within one cell; then the cell's values replace those of the proposal"""
    is_kept: bool = False
    """whether the instance lives as long as the sweep's revision and gets ``after_trial``"""
    attrs_of_others: Mapping[str, Any] | None = None
    """attributes that it would have set on trials that it did not draw"""
