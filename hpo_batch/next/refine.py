"""From the trials of studies to the next sweep: a complete file to review, its reasons, and its decisions as data.

from hpo_batch.next.refine import refine, write

next_sweep = refine(read_tables(["my-sweep"], root=root), root=root)
print(next_sweep.toml)
write(next_sweep)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hpo_batch import __version__
from hpo_batch.files import write_files
from hpo_batch.findings.known import Known
from hpo_batch.findings.ledger.prediction import Prediction
from hpo_batch.next import rationale
from hpo_batch.next.apply import apply
from hpo_batch.next.carry_over import carry_over, check_imports, pin_baseline
from hpo_batch.next.decide import decide
from hpo_batch.next.decision import Decision, in_order
from hpo_batch.next.evidence import Evidence, gather
from hpo_batch.next.old_space import plan_old_space
from hpo_batch.next.origin import draft_of, next_name
from hpo_batch.next.predictions import decisions_path, name_in, of_refine
from hpo_batch.next.refusal import check_carried, may_be_refined, may_differ, same_objective
from hpo_batch.next.write import Draft, checked
from hpo_batch.results.stacked import stacked
from hpo_batch.results.table import TrialsTable
from hpo_batch.space.changes import SpaceChange, compared
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.numbers import count


@dataclass(frozen=True, kw_only=True)
class NextSweep:
    """A sweep to review, and what led to it. Nothing is written yet."""

    path: Path
    toml: str
    before: str
    """text of the sweep that was refined"""
    sweep: Sweep
    decisions: tuple[Decision, ...]
    """changes first, the most urgent one in front; then what is kept"""
    change: SpaceChange
    evidence: Evidence
    notes: tuple[str, ...]
    """what else is different, or could not be done"""
    predictions: tuple[Prediction, ...] = ()
    """what the ledger will judge"""

    @property
    def rationale(self) -> str:
        return rationale.markdown(self)

    @property
    def decisions_json(self) -> str:
        return rationale.as_json(self)

    @property
    def files(self) -> dict[Path, str]:
        """All three files."""
        return {
            self.path: self.toml,
            self.path.with_suffix(".rationale.md"): self.rationale,
            decisions_path(self.path): self.decisions_json,
        }


def write(next_sweep: NextSweep) -> None:
    """Write the sweep, its rationale and its decisions.

    Raises:
        UserError: one of the files exists; nothing is written.
        StorageError: they cannot be written.
    """
    write_files(next_sweep.files)


def refine(
    tables: Sequence[TrialsTable],
    *,
    root: Path,
    text: str | None = None,
    path: Path | None = None,
    known: Known | None = None,
    seed: int = 0,
) -> NextSweep:
    """The next sweep after some studies.

    Args:
        tables: the study that is refined; then others with the same objective, whose trials count too.
        root: the logs directory.
        text: the sweep's TOML, if it is not the one that the study keeps; of a table from a file it must be given.
        path: where the sweep is to be written; by default ``<name>.toml`` here.
        known: what a person knows beside the trials.
        seed: of draws.

    Raises:
        UserError: the sources do not fit together, or cannot be refined at all.
        Declined: the trials carry no change.
    """
    sweep = same_objective(tables)
    may_be_refined(tables, sweep)
    name = next_name(sweep.study.name, sweep.budget, root)
    path = path or Path(f"{name}.toml")
    draft, notes = draft_of(tables[0], sweep, text, path)
    before = draft.text
    evidence = gather(stacked(tables), sweep, known=known, seed=seed)
    may_differ(evidence)
    decisions = decide(evidence)
    check_carried(evidence, decisions)
    pin_baseline(draft, evidence, decisions)
    notes += carry_over(draft, tables, sweep, name=name, root=root, path=path)
    decisions = apply(draft, sweep, decisions, path)
    check_carried(evidence, decisions)
    notes += plan_old_space(draft, evidence, decisions, path, seed=seed)
    notes += check_imports(draft, path, root=root)
    ordered = in_order(decisions)
    _keep_earlier(draft, sweep, ordered)
    draft.head(_head(tables, evidence, path))
    result = checked(draft, path)
    made = NextSweep(
        path=path,
        toml=draft.text,
        before=before,
        sweep=result,
        decisions=ordered,
        change=compared(sweep.space, result.space),
        evidence=evidence,
        notes=tuple(notes),
        predictions=of_refine(evidence, result, ordered),
    )
    name_in(draft, path, made.decisions_json)
    return replace(made, toml=draft.text, sweep=checked(draft, path))


def _keep_earlier(draft: Draft, sweep: Sweep, decisions: Sequence[Decision]) -> None:
    """Write down the earlier declaration of each parameter that changed."""
    for decision in decisions:
        if decision.new is not decision.old:
            draft.set(("previous", "space", decision.parameter), sweep.space_table[decision.parameter])


def _head(tables: Sequence[TrialsTable], evidence: Evidence, path: Path) -> list[str]:
    names = ", ".join(table.source for table in tables)
    complete = sum(table.counts.complete for table in tables)
    return [
        f"refined from {names} ({count(complete, 'complete trial')}, n = {evidence.n}) by hpo-batch {__version__}",
        f"reasons: {path.with_suffix('.rationale.md').name}; earlier declarations: [previous], at the end",
    ]
