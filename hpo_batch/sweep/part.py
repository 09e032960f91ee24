"""Selects some budgets of a sweep file (``--start-from``), or some trials of a list (``--only``, ``--set-of``)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from hpo_batch.errors import ExpressionError, UserError
from hpo_batch.sweep.expect import read_statement
from hpo_batch.sweep.planned import complete_params
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.names import did_you_mean, listed


def part_of(
    sweeps: Sequence[Sweep], *, start_from: str | None = None, only: str | None = None, set_of: str | None = None
) -> tuple[Sweep, ...]:
    """The sweeps to run.

    Args:
        sweeps: one per budget, in order.
        start_from: name of the first budget to run.
        only: names of the trials to run, separated by commas.
        set_of: name of the set of trials to run.

    Raises:
        UserError: there is no such budget, trial or set, or the sweep is not a list.
    """
    chosen = tuple(sweeps)
    if start_from is not None:
        budgets = [sweep.budget for sweep in sweeps if sweep.budget is not None]
        if start_from not in budgets:
            raise UserError(f"--start-from: no [[budget]] is called '{start_from}'{_suggestion(start_from, budgets)}")
        chosen = chosen[budgets.index(start_from) :]
    if only is not None and set_of is not None:
        raise UserError("give either --only or --set-of, not both")
    if only is None and set_of is None:
        return chosen
    return tuple(_some_trials(sweep, only=only, set_of=set_of) for sweep in chosen)


def _some_trials(sweep: Sweep, *, only: str | None, set_of: str | None) -> Sweep:
    option = "--only" if only is not None else "--set-of"
    if not sweep.sampler.capabilities.is_list:
        kind = sweep.sampler.name
        raise UserError(f"{option} requires [sampler] name = \"list\"; with '{kind}', all [[trial]]s run first")
    if only is not None:
        names = [name.strip() for name in only.split(",") if name.strip()]
        trials = [trial.name for trial in sweep.trial]
        unknown = next((name for name in names if name not in trials), None)
        if unknown is not None:
            raise UserError(f"--only: no [[trial]] is called '{unknown}'{_suggestion(unknown, trials)}")
    else:
        names = [trial.name for trial in sweep.trial if trial.set == set_of]
        names += _compared_with(sweep, names)
    if not names:
        sets = sorted({trial.set for trial in sweep.trial if trial.set is not None})
        raise UserError(f"{option}: no [[trial]] belongs to it{_suggestion(set_of or '', sets)}")
    chosen = []
    for trial in sweep.trial:
        if trial.name not in names:
            continue
        if trial.from_ is not None and trial.from_ not in ("baseline", *names):
            # the trial it inherits from is not selected, so its values are copied
            trial = replace(trial, from_=None, params=complete_params(sweep, trial))
        chosen.append(trial)
    # without the target, which was for the whole list
    return replace(sweep, trial=tuple(chosen), study=replace(sweep.study, trials=None))


def _compared_with(sweep: Sweep, names: Sequence[str]) -> list[str]:
    """Trials that these take their values from (``from``) and that an ``[expect]`` compares them with: without them
    the set could not be judged."""
    origins = {trial.from_ for trial in sweep.trial if trial.name in names and trial.from_ is not None}
    named: set[str] = set()
    for expectation in sweep.expect.values():
        text = expectation if isinstance(expectation, str) else expectation.if_
        try:
            found = read_statement(text).names
        except ExpressionError:  # said by the sweep's own check
            continue
        if found & set(names):
            named |= found
    return [trial.name for trial in sweep.trial if trial.name in (origins & named) - set(names)]


def _suggestion(name: str, known: Sequence[str]) -> str:
    return did_you_mean(name, known, otherwise=f"; there are {listed(known)}" if known else "; there are none")
