"""One revision of a study's sweep, with everything derived from it. Editing the sweep makes a new revision."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from msgspec import Struct

from hpo_batch.journal.state import JournalState
from hpo_batch.records import Value
from hpo_batch.space.space import Space
from hpo_batch.store.home import StudyHome
from hpo_batch.study.brackets import Brackets
from hpo_batch.study.journal_params import JournalParams
from hpo_batch.study.pruners import make_pruner
from hpo_batch.study.quota import Arm, Quotas
from hpo_batch.study.read import read_revision
from hpo_batch.study.samplers import Source, make_source
from hpo_batch.sweep.planned import Planned, planned_trials
from hpo_batch.sweep.schema import Sweep

if TYPE_CHECKING:
    import optuna

# the user's function that counts a model's parameters
NParams = Callable[[Mapping[str, Value]], int]


class Revision(Struct, frozen=True, kw_only=True):
    """A frozen sweep and what follows from it. Sources, quotas and brackets remember which trials they have counted."""

    number: int
    sweep: Sweep
    space: Space
    planned: tuple[Planned, ...]
    quotas: Quotas
    journal_params: JournalParams
    brackets: Brackets | None = None
    """None unless the pruner is Hyperband"""
    pruner: optuna.pruners.BasePruner | None = None
    sources: Mapping[Arm, Source]
    """the source of each quota arm's configurations; empty in a rebuild, which draws nothing"""

    @classmethod
    def read(cls, home: StudyHome, state: JournalState, *, n_params: NParams | None) -> Revision:
        """The revision that the journal names.

        Raises:
            StorageError: its file is missing or damaged.
            UserError: the sampler or the pruner rejects its options.
        """
        sweep = read_revision(home, state)
        space = replace(sweep.space, n_params=n_params)
        quotas = Quotas(space)
        return cls(
            number=state.revision,
            sweep=sweep,
            space=space,
            planned=planned_trials(sweep, n_params=n_params),
            quotas=quotas,
            journal_params=JournalParams(space),
            brackets=Brackets.of(sweep.pruner),
            pruner=make_pruner(sweep.pruner),
            sources={arm: make_source(sweep, space, arm) for arm in quotas.arms},
        )

    @property
    def needs_reports(self) -> bool:
        """Whether the journal must be read with the reports of all trials.

        Pruners compare them, and a planned trial that repeats a finished one takes over its reports.
        """
        return self.pruner is not None or bool(self.planned)
