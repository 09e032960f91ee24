"""Rules for ``[expect]``."""

from __future__ import annotations

from collections.abc import Collection, Iterator

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions import why_constant
from hpo_batch.records import Problem
from hpo_batch.sweep.expect import Statement, read_statement, why_unknown
from hpo_batch.sweep.rules.draft import Draft


def readable(draft: Draft) -> Iterator[Problem]:
    sweep = draft.sweep
    trials = [trial.name for trial in sweep.trial]
    sets = [trial.set for trial in sweep.trial if trial.set]
    for text, expectation in sweep.expect.items():
        key = ("expect", text) if isinstance(expectation, str) else ("expect", text, "if")
        if any(problem.key[:2] in (("expect",), ("expect", text)) for problem in draft.problems):
            continue
        try:
            statement = read_statement(expectation if isinstance(expectation, str) else expectation.if_)
        except ExpressionError as error:
            yield Problem(key=key, message=str(error))
            continue
        message = why_unknown(statement, trials=trials, sets=sets) if draft.is_sound("trial") else ""
        if message := message or _why_no_condition(statement, sweep.declared_names):
            yield Problem(key=key, message=message)


def _why_no_condition(statement: Statement, parameters: Collection[str]) -> str:
    """Why the condition of a ``share()`` is invalid; empty if it is valid."""
    conditions = [one.where for one in statement.statistics.values() if one.where is not None]
    for condition in conditions:
        if constant := why_constant(condition, parameters):
            return constant
        for name in sorted(condition.names):
            if name not in parameters:
                return f"'{name}' is not a parameter of [space]"
    return ""
