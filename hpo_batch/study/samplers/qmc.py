"""One quasi-random sequence over all workers, without gaps and without repeats.

All workers walk the same sequence, fixed by the study's seed, and take its first untried point under the journal's
lock. So no index is used twice, and an index is skipped only if its configuration is invalid or appeared earlier, which
happens often in a discrete space.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence

from hpo_batch.journal.state import JournalState
from hpo_batch.records import Configuration
from hpo_batch.space.cells import MOST_WALKED, pinned, size
from hpo_batch.space.draw import shuffled_cells, value_at
from hpo_batch.space.space import Space
from hpo_batch.study.quota import Arm
from hpo_batch.study.samplers.base import RANDOM_DRAWS, SPARES, Candidate, Draw, Refusals, Source, Unseen
from hpo_batch.sweep.schema import Sweep

# points per batch; a power of two keeps the balance of Sobol' sequences:
# https://docs.scipy.org/doc/scipy-1.15.3/reference/generated/scipy.stats.qmc.Sobol.html
BLOCK = 64


class Qmc(Source):
    """Sobol' or Halton points."""

    def __init__(self, sweep: Sweep, space: Space, arm: Arm) -> None:
        self._sweep = sweep
        self._space = space
        self._arm = arm
        self._arm_space = pinned(space, dict(arm))
        self._dimensions = [parameter.name for parameter in self._arm_space.searched if parameter.count != 1]
        self._index_of: dict[str, int] = {}
        self._refusals = Refusals()
        self._unseen = Unseen(self._sequence())

    def draw(self, state: JournalState, *, seed: int, again: bool, count: int = 1) -> Draw:
        configurations = self._unseen.first(max(count, SPARES * 4), tried=state.number_of_key)
        candidates = [
            Candidate(
                configuration=configuration,
                origin="qmc",
                facts={"index": self._index_of[configuration.key]} if configuration.key in self._index_of else {},
            )
            for configuration in configurations
        ]
        refused = self._refusals.summary() if not configurations and not self._index_of and self._refusals else ""
        return Draw(candidates=candidates, used_up=not configurations, refused=refused)

    def _sequence(self) -> Iterator[Configuration]:
        """The sequence's valid configurations, each once; then the remaining ones of a space that can be listed."""
        seen: set[str] = set()
        misses = 0
        for index, point in enumerate(self._points()):
            shares = dict(zip(self._dimensions, point, strict=True))
            drawn = self._arm_space.decide(lambda p, shares=shares: value_at(p, shares.get(p.name, 0.0)))  # type: ignore[misc]
            configuration = self._space.resolve({**drawn.fixed, **drawn.searched}) if self._arm else drawn
            if configuration.key not in seen:
                seen.add(configuration.key)
                why = self._space.why_invalid(configuration)
                if why is None:
                    misses = 0
                    self._index_of[configuration.key] = index
                    yield configuration
                    continue
                self._refusals.note(why)
            misses += 1
            if misses >= RANDOM_DRAWS:
                break
        total = size(self._arm_space).all
        if total is not None and total <= MOST_WALKED:
            rng = random.Random(self._sweep.sampler.seed)
            for configuration in shuffled_cells(self._space, dict(self._arm), rng):
                if configuration.key not in seen:
                    yield configuration

    def _points(self) -> Iterator[Sequence[float]]:
        from scipy.stats import qmc  # one second to import, and only this sampler needs it

        options = {"qmc_type": "sobol", "scramble": True, **self._sweep.sampler.options}
        kinds = {"sobol": qmc.Sobol, "halton": qmc.Halton}
        engine = kinds[options["qmc_type"]](
            max(1, len(self._dimensions)), scramble=options["scramble"], seed=self._sweep.sampler.seed
        )
        while True:
            for point in engine.random(BLOCK).tolist():
                yield point[: len(self._dimensions)]
