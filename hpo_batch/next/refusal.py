"""What cannot be refined, and what it would take."""

from __future__ import annotations

from collections.abc import Sequence

from hpo_batch.errors import Declined, UserError
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.next.decision import Decision
from hpo_batch.next.evidence import Evidence
from hpo_batch.next.rules.enough import FEWEST_TO_WIDEN, to_leave_out
from hpo_batch.results.table import TrialsTable
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.numbers import count, number


def same_objective(tables: Sequence[TrialsTable]) -> Sweep:
    first, sweeps = tables[0], []
    for table in tables:
        if table.sweep is None:
            raise UserError(
                f"'{table.source}' has no sweep: --sweep takes the TOML to refine, with [space] and [objective]"
            )
        sweeps.append(table.sweep)
    own = sweeps[0]
    for table, sweep in zip(tables[1:], sweeps[1:], strict=True):
        for what, a, b in (
            ("metric", first.metrics, table.metrics),
            ("direction", first.directions, table.directions),
            ("function", own.objective.function, sweep.objective.function),
            ("command", own.objective.command, sweep.objective.command),
            ("budget", first.budget, table.budget),
        ):
            if a != b:
                raise UserError(
                    f"'{first.source}' and '{table.source}' do not have the same {what} ({a}, {b}): refine "
                    f"one of them at a time, such as 'hpo-batch refine {first.source}'"
                )
    return own


def may_be_refined(tables: Sequence[TrialsTable], sweep: Sweep) -> None:
    for table in tables:
        if len(table.metrics) > 1:
            told = ", ".join(table.metrics)
            raise UserError(
                f"'{table.source}' has several metrics ({told}), among which no trial is the best: refine needs one"
            )
        if table.counts.running:
            raise UserError(
                f"'{table.source}' runs ({count(table.counts.running, 'trial')}): wait for it, or end it with "
                f"'hpo-batch cancel {table.source}'"
            )
    if sweep.sampler.capabilities.is_list:
        raise UserError(
            f"'{tables[0].source}' runs the [[trial]] tables only and has no space to refine; give it another [sampler]"
        )
    finished = sum(table.counts.complete for table in tables)
    if not finished:
        failed = sum(table.counts.failed for table in tables)
        done = f"{count(failed, 'trial')} failed and none completed" if failed else "it has no trials"
        raise Declined(
            f"'{tables[0].source}': {done}: nothing to refine from\n"
            f"it would take at least {FEWEST_TO_WIDEN} complete trials"
            + (f"; 'hpo-batch status {tables[0].source}' says why trials failed" if failed else "")
        )


def may_differ(evidence: Evidence) -> None:
    """Refuse trials that all gave the same: where there is no best one, nothing says where to search."""
    values = {value for _, value in evidence.study.history}
    if evidence.n > 1 and len(values) == 1:
        raise Declined(
            f"'{evidence.table.source}': all {count(len(evidence.study.history), 'complete trial')} have "
            f"{evidence.study.metric} = {number(values.pop())}: none is the best, and nothing says where to search\n"
            "it would take values that differ: look at the objective, or use a finer metric"
        )


def check_carried(evidence: Evidence, decisions: Sequence[Decision]) -> None:
    """Refuse to write a sweep that would be the same again."""
    if any(decision.changes for decision in decisions):
        return
    n, source = evidence.n, evidence.table.source
    carry = "carries" if n == 1 else "carry"
    over = count(len(decisions), "parameter")
    lines = [f"'{source}': {count(n, 'trial')} over {over} {carry} no change of the space"]
    lines += [f"  {d.parameter}: {d.reason}" for d in decisions[:20]]
    lines.append(cheapest(evidence))
    raise Declined("\n".join(lines))


def cheapest(evidence: Evidence) -> str:
    """The smallest set of further trials after which something could be decided."""
    n, searched = evidence.n, len(evidence.sweep.space.searched)
    enough = to_leave_out(searched)
    options: list[tuple[int, str]] = []
    for effect in evidence.effects.values():
        if effect.direction is None:
            continue
        is_told = effect.p_holm is not None and effect.p_holm < ALPHA
        more = effect.direction.trials_to_tell
        if is_told or more is not None:
            needed = max(enough - n, 0 if is_told else more or 0)
            if needed > 0:
                what = f"could tell which values of '{effect.parameter}' to leave out"
                options.append((needed, what))
    trials = evidence.sweep.study.trials
    if n < FEWEST_TO_WIDEN:
        options.append((FEWEST_TO_WIDEN - n, "could tell whether the best lies at an end of a range"))
    if not options and n < enough:
        options.append((enough - n, "could tell which values to leave out"))
    if not options:
        return "the space is right as far as these trials tell: continue with more trials, or confirm the best ones"
    needed, what = min(options)
    command = ""
    if trials is not None and evidence.table.home is not None:
        command = f": hpo-batch resume {evidence.table.source} --set study.trials={trials + needed}"
    elif trials is not None:  # trials of a file, which cannot be resumed
        command = f": hpo-batch submit SWEEP --set study.trials={needed}, then refine that study and these together"
    return f"{count(needed, 'more trial')} {what}{command}"
