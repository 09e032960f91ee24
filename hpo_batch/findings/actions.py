"""What to do next, as data: findings carry actions, this module alone says them in words and as commands.

Whoever carries actions out reads ``Action``, never its text.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from typing import Final

from hpo_batch.records import Value
from hpo_batch.text.lines import printable, shell_word
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count as counted
from hpo_batch.text.numbers import label

FEW: Final = 2
LEAST_CONFIRMED: Final = 2
"""configurations that ``confirm`` takes"""
MOST_NAMED: Final = 6
"""trials or parameters that a sentence names"""


class ActionKind(Enum):
    """What is done. The values are stable: report.json has them."""

    EXPAND = "expand"
    """search ``parameter`` beyond the end ``where`` of its range; ``value`` is the last one tried there"""
    NARROW = "narrow"
    """search ``parameter`` around the values that did well"""
    CONFIRM = "confirm"
    """train the configurations of ``trials`` again, with ``seeds`` new seeds each, the same for all"""
    ADD_TRIALS = "add_trials"
    """run ``count`` further trials, to tell what ``parameter`` does"""
    REPLICATE = "replicate"
    """train the configurations of ``trials`` with ``seeds`` seeds each, to learn how far chance moves the metric"""
    REPORT_N_EVAL = "report_n_eval"
    """say how many cases the metric is computed on: the objective reports ``metrics``, or the report is told"""
    REPORT_METRICS = "report_metrics"
    """let the objective report ``metrics``"""
    FIX_FAILURES = "fix_failures"
    """find out why trials end without a value, if it is given those with ``value`` of ``parameter``"""
    FIX_OBJECTIVE = "fix_objective"
    """find out why the objective always gives the same"""
    INSPECT = "inspect"
    """read the logs of ``trials`` before their values are used, then run them again or leave them out"""
    RECORD_SEEDS = "record_seeds"
    """find out what differs between runs of one configuration"""
    SKIP_DUPLICATES = "skip_duplicates"
    """let the sampler skip configurations that were tried"""
    COVER = "cover"
    """give a share of the trials to combinations that were not tried"""
    JUDGE_TOGETHER = "judge_together"
    """judge ``parameter`` and ``beside`` together: what one does depends on the others"""
    REDUCE_NOISE = "reduce_noise"
    """search a wider space, or measure with less noise"""
    COMPARE_WITHIN = "compare_within"
    """compare within each study, not over all"""
    DELAY_PRUNING = "delay_pruning"
    """let the pruner begin at step ``count``, or later than it did; 0: never"""
    EXCLUDE_NODE = "exclude_node"
    """keep workers off the node ``where``"""
    DISTRUST = "distrust"
    """believe no effect that hangs on ``trials``"""
    DROP_VALUE = "drop_value"
    """leave ``value`` of ``parameter`` out of the next sweep, or let the pruner begin later"""
    REPEAT_EARLY = "repeat_early"
    """run configurations from before trial ``count`` again: the metric moved there (null: in the course of the search);
    with the earlier values of ``beside``, parameters that changed with it"""
    STOP = "stop"
    """run no further trials of this space: ``count`` more would gain less than the noise"""
    REPORT_AGAIN = "report_again"
    """write the report again when the study has ended"""
    USE_FINER_METRIC = "use_finer_metric"
    """use a metric that tells configurations apart"""
    FOLLOW = "follow"
    """what the sweep's author wanted done if an expectation came true, in the words of ``note``"""


@dataclass(frozen=True, kw_only=True)
class Action:
    """Something to do next. A field that its kind does not name is empty."""

    kind: ActionKind
    study: str = ""
    """label of the study; empty: all of the report together"""
    parameter: str = ""
    value: Value | None = None
    """of the parameter"""
    beside: tuple[str, ...] = ()
    """further parameters that belong to it"""
    where: str = ""
    """the end of a range (``low``, ``high``), a node, or with which trials: ``baseline``, ``bests of all studies``"""
    trials: tuple[int, ...] = ()
    """numbers of trials"""
    seeds: int | None = None
    """new seeds for each of the trials"""
    count: int | None = None
    """trials to add, or the step of ``delay_pruning``"""
    metrics: tuple[str, ...] = ()
    """names under which to report"""
    note: str = ""
    """words of the sweep's author"""
    command: str = ""
    """what to type, if a command does it today or begins it"""
    evidence: tuple[str, ...] = ()
    """keys of the findings that it follows from"""


def action_text(action: Action) -> str:
    """An action as a sentence without its full stop."""
    return _TEXTS[action.kind](action)


def actions_text(actions: Iterable[Action]) -> str:
    """Several actions as one sentence: equal ones are said once."""
    return "; ".join(dict.fromkeys(map(action_text, actions)))


def _trials(action: Action) -> str:
    if not action.trials:
        return "the best configurations"
    more = len(action.trials) - MOST_NAMED
    named = listed(action.trials[:MOST_NAMED]) if more <= 0 else ", ".join(map(str, action.trials[:MOST_NAMED]))
    return f"{'trial' if len(action.trials) == 1 else 'trials'} {named}" + (f" and {more} more" if more > 0 else "")


def _it(action: Action) -> str:
    return "it" if len(action.trials) == 1 else "them"


def _seeds(action: Action) -> str:
    return "new seeds" if action.seeds is None else counted(action.seeds, "new seed")


def _confirm(action: Action) -> str:
    if action.where == "baseline":
        return f"run the baseline and {_trials(action)} with the same new seeds"
    if action.where:
        return "confirm the best of each study with the same new seeds before comparing them"
    each = " each" if len(action.trials) != 1 else ""
    return f"confirm {_trials(action)} with {_seeds(action)}{each}"


def _add(action: Action) -> str:
    more = "further trials" if action.count is None else counted(action.count, "trial")
    told = listed([action.parameter, *action.beside]) if action.parameter else ""
    verb = "run" if action.count is None else "add"
    if told:
        return f"{verb} {more} to tell what {told} {'do' if action.beside else 'does'}"
    return f"{verb} {more}, or search fewer parameters"


def _delay(action: Action) -> str:
    if action.count is None:
        return "let the pruner begin later, or some trials go on to their end"
    return (
        f"let a pruner begin at step {action.count} at the earliest" if action.count else "do not prune by these steps"
    )


def _value(action: Action) -> str:
    return f"{action.parameter} = {label(action.value)}"


def _fix_failures(action: Action) -> str:
    if action.parameter:
        return f"find out why {_value(action)} fails before it is searched further"
    return "look at the failures first: status and explain say why trials ended"


def _repeat_early(action: Action) -> str:
    if action.beside:
        return f"run some trials with the earlier values of {listed(action.beside)} again, to tell them from a drift"
    at = f"at trial {action.count}" if action.count is not None else "in the course of the search"
    return f"find out what changed {at} (node, data, code, library versions), and run a few early configurations again"


def _expand(action: Action) -> str:
    beside = f", and that of {listed(action.beside)} with it" if action.beside else ""
    if action.value is None:
        return f"widen the range of {action.parameter} at its {action.where} end{beside}"
    side = "below" if action.where == "low" else "above"
    return f"widen the range of {action.parameter} {side} {label(action.value)}{beside}"


def _report_n_eval(action: Action) -> str:
    names = " and ".join(action.metrics or ("n_eval",))
    return f"report {names}, so that the noise floor is known"


_TEXTS: Final[Mapping[ActionKind, Callable[[Action], str]]] = {
    ActionKind.EXPAND: _expand,
    ActionKind.NARROW: lambda a: f"search {listed([a.parameter, *a.beside])} mainly at the good values",
    ActionKind.CONFIRM: _confirm,
    ActionKind.ADD_TRIALS: _add,
    ActionKind.REPLICATE: lambda a: f"run {_trials(a)} again with {_seeds(a)}, to learn what chance does",
    ActionKind.REPORT_N_EVAL: _report_n_eval,
    ActionKind.REPORT_METRICS: lambda a: f"report {listed(a.metrics)} from the objective",
    ActionKind.FIX_FAILURES: _fix_failures,
    ActionKind.DROP_VALUE: lambda a: (
        f"leave out {_value(a)}, or let the pruner begin later if such trials start slowly"
    ),
    ActionKind.REPEAT_EARLY: _repeat_early,
    ActionKind.STOP: lambda _: (
        "run no more trials of this space, which would gain less than noise: confirm the best, or change the space"
    ),
    ActionKind.REPORT_AGAIN: lambda _: "write the report again when the study has ended",
    ActionKind.USE_FINER_METRIC: lambda _: "check the metric, or use a finer one (a loss, a score over more cases)",
    ActionKind.FIX_OBJECTIVE: lambda _: "look at the objective, the loss and the class balance before tuning anything",
    ActionKind.INSPECT: lambda a: f"read the log of {_trials(a)}, then run {_it(a)} again or leave {_it(a)} out",
    ActionKind.RECORD_SEEDS: lambda _: "find out what differs between runs of one configuration, or record their seeds",
    ActionKind.SKIP_DUPLICATES: lambda _: "skip duplicates, or ask for replicates with seeds of their own",
    ActionKind.COVER: lambda _: "give a share of the trials to combinations not tried yet",
    ActionKind.JUDGE_TOGETHER: lambda a: f"judge {listed([a.parameter, *a.beside])} together, not each by its mean",
    ActionKind.REDUCE_NOISE: lambda _: "search a wider space, or measure with less noise (seeds, validation cases)",
    ActionKind.COMPARE_WITHIN: lambda _: "compare within each study, not over all",
    ActionKind.DELAY_PRUNING: _delay,
    ActionKind.EXCLUDE_NODE: lambda a: f"exclude node {a.where}, and tell the site",
    ActionKind.DISTRUST: lambda a: f"trust no effect that depends on {_trials(a)}",
    ActionKind.FOLLOW: lambda a: a.note,
}


def suits(action: Action, by: str | None) -> bool:
    """Whether an action makes sense for a study whose sweep ``by`` has written: what runs a list around the best trial
    or again searches nothing, and of what ran again nothing is left to confirm."""
    if by in ("confirm", "transfer") and action.kind in _AGAIN:
        return False
    return by not in ("propose", "confirm", "transfer") or action.kind not in _OF_A_SEARCH


def with_command(
    action: Action,
    *,
    source: str,
    is_study: bool,
    trials: int | None = None,
    searches: bool = True,
    options: str = "",
) -> Action:
    """The action with the command that does it today, or begins it.

    Args:
        action: of the study that was read from ``source``.
        source: what ``report`` was called with.
        is_study: it is a study of hpo-batch, not a file or a foreign storage.
        trials: how many finished trials it was to have.
        searches: it draws configurations; one that runs a list can neither be refined nor get more trials.
        options: that ``report`` needs to read the source.
    """
    name = shell_word(printable(source))
    may_run = is_study and (searches or action.kind not in _OF_A_SEARCH)
    command = _of_study(action, name, trials) if may_run else ""
    if action.kind is ActionKind.REPORT_AGAIN:
        command = f"hpo-batch report {name}{options}"
    if action.kind is ActionKind.REPORT_N_EVAL:
        command = f"hpo-batch report {name}{options} --n-eval N" + (" --n-pos P" if "n_pos" in action.metrics else "")
    return replace(action, command=command)


def _of_study(action: Action, name: str, trials: int | None) -> str:
    match action.kind:
        case ActionKind.ADD_TRIALS if action.count is not None and trials is not None:
            return f"hpo-batch resume {name} --set study.trials={trials + action.count}"
        case ActionKind.FIX_FAILURES:
            return f"hpo-batch status {name}"
        case ActionKind.INSPECT if action.trials:
            return f"hpo-batch logs {name} {action.trials[0]}"
        case ActionKind.CONFIRM:
            is_own = action.where in ("", "baseline")  # confirm takes the baseline along
            top = f" --top {max(LEAST_CONFIRMED, len(action.trials))}" if action.trials and is_own else ""
            return f"hpo-batch confirm {name}{top} --seeds {action.seeds or 2}"
        case ActionKind.EXPAND | ActionKind.NARROW:
            return f"hpo-batch refine {name}"
        case ActionKind.EXCLUDE_NODE:
            return f"hpo-batch resume {name} --set {shlex.quote(f'job.exclude={action.where}')}"
        case _:
            return ""


def gathered(actions: Iterable[Action]) -> tuple[Action, ...]:
    """Each action once, at its first place, with all of its evidence.

    Confirming and replicating do the same work: of a study's trials that are to run with new seeds one action is left.
    """
    found: dict[object, Action] = {}
    for action in actions:
        again = action.kind in _AGAIN and not action.where
        key = (action.study, "again") if again else replace(action, evidence=(), command="")
        known = found.get(key)
        found[key] = (
            action
            if known is None
            else replace(known, evidence=tuple(dict.fromkeys((*known.evidence, *action.evidence))))
        )
    return tuple(found.values())


_AGAIN: Final = (ActionKind.CONFIRM, ActionKind.REPLICATE)
_OF_A_SEARCH: Final = (
    ActionKind.EXPAND,
    ActionKind.NARROW,
    ActionKind.ADD_TRIALS,
    ActionKind.COVER,
    ActionKind.REDUCE_NOISE,
    ActionKind.DELAY_PRUNING,
    ActionKind.DROP_VALUE,
    ActionKind.SKIP_DUPLICATES,
    ActionKind.STOP,
)


def first_steps(actions: Iterable[Action], most: int) -> tuple[Action, ...]:
    """What to begin with: first what makes the numbers wrong, then what changes the next sweep.

    Of an equal kind those that come first stay first. Narrowing is one step for all parameters of a study, except those
    whose range is to be widened. What the first step looks at needs no warning, and metrics that nobody asked for are
    for those who have little else to do.
    """
    ordered = sorted(actions, key=lambda action: _ORDER.index(action.kind))
    widened = {(action.study, action.parameter) for action in ordered if action.kind is ActionKind.EXPAND}
    ordered = [a for a in ordered if a.kind is not ActionKind.NARROW or (a.study, a.parameter) not in widened]
    narrow = [action for action in ordered if action.kind is ActionKind.NARROW]
    looked_at = {(action.study, n) for action in ordered if action.kind is ActionKind.INSPECT for n in action.trials}
    chosen: list[Action] = []
    for action in ordered:
        if action.kind is ActionKind.NARROW:
            if not any(known.kind is ActionKind.NARROW and known.study == action.study for known in chosen):
                same = [
                    name for other in narrow if other.study == action.study for name in (other.parameter, *other.beside)
                ]
                chosen.append(replace(action, beside=tuple(dict.fromkeys(same[1:]))))
        elif action.kind is ActionKind.DISTRUST and {(action.study, n) for n in action.trials} <= looked_at:
            continue
        elif action.kind is not ActionKind.REPORT_METRICS or len(chosen) < FEW:
            chosen.append(action)
    return tuple(chosen[:most])


_ORDER: Final = (
    ActionKind.FIX_FAILURES,
    ActionKind.FIX_OBJECTIVE,
    ActionKind.INSPECT,
    ActionKind.RECORD_SEEDS,
    ActionKind.REPEAT_EARLY,
    ActionKind.USE_FINER_METRIC,
    ActionKind.REPORT_AGAIN,
    ActionKind.EXCLUDE_NODE,
    ActionKind.EXPAND,
    ActionKind.CONFIRM,
    ActionKind.REPLICATE,
    ActionKind.STOP,
    ActionKind.FOLLOW,
    ActionKind.ADD_TRIALS,
    ActionKind.REPORT_N_EVAL,
    ActionKind.REDUCE_NOISE,
    ActionKind.NARROW,
    ActionKind.DROP_VALUE,
    ActionKind.JUDGE_TOGETHER,
    ActionKind.COVER,
    ActionKind.SKIP_DUPLICATES,
    ActionKind.DELAY_PRUNING,
    ActionKind.COMPARE_WITHIN,
    ActionKind.REPORT_METRICS,
    ActionKind.DISTRUST,
)
"""every kind"""
