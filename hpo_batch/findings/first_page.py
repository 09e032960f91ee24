"""The first page of a report: the best configuration, the history, what matters, what to do next, and a line each on
the trials. Everything else is below it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Final

from hpo_batch.document.blocks import Block, Card, Facts, Headline, Said, Snippet, Step, Steps, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.actions import Action, action_text, first_steps
from hpo_batch.findings.best.figure import front_figure, history_figure, within_noise
from hpo_batch.findings.best.numbers import TopTrial, is_constant
from hpo_batch.findings.best.page import top_table
from hpo_batch.findings.effects.figure import directions_figure, not_directed
from hpo_batch.findings.lineage.page import line_text
from hpo_batch.findings.metrics.words import named as named_metrics
from hpo_batch.findings.metrics.words import strong
from hpo_batch.findings.phrases import fine, some
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Page
from hpo_batch.records import Answer, Estimate, Value
from hpo_batch.text.lines import shell_word
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count, hours, interval, number
from hpo_batch.text.values import toml_line

MOST_STEPS: Final = 5
"""of one study; of several one less"""
MOST_KNOWN: Final = 60
MOST_STUDIES: Final = 4
"""whose best configurations the first page has to copy, and whose histories it draws"""
MOST_FRONT: Final = 6
MOST_PAIRS: Final = 2
"""of studies, whose difference the first page tells"""
CLAUSE: Final = re.compile(r"(?::(?! \d)|;|\.) ")
"""where the first clause of a warning ends; ``8: 4 of 4 failed`` goes on"""
FEWEST_LETTERS: Final = 20
"""of a warning: what is shorter says nothing"""
MOST_COPIED: Final = 3
"""configurations of a front that the first page has to copy"""


def first_page(page: Page) -> tuple[Card, ...]:
    """The cards of the first page, in the order in which they are read."""
    cards = [
        Card(key="best", title=_best_title(page.findings), blocks=tuple(_best(page))),
        Card(key="history", title="The front" if _is_front(page.findings) else "History", blocks=tuple(_history(page))),
        Card(key="matters", title="What matters", blocks=tuple(_matters(page))),
        Card(key="next", title="What to do next", blocks=(next_steps(page.findings),)),
        Card(key="state", title="The trials", blocks=(Facts(rows=tuple(_facts(page.findings))),)),
    ]
    return tuple(card for card in cards if card.blocks)


# --- the best


def _best_title(findings: Findings) -> str:
    several = sum(bool(study.summary.n) for study in findings.studies) > 1
    if _is_front(findings):
        return "No single best: the Pareto front"
    return "Best configurations" if several else "Best configuration"


def _is_front(findings: Findings) -> bool:
    return any(study.front for study in findings.studies)


def _best(page: Page) -> Iterator[Block]:
    studies = [study for study in page.findings.studies if study.summary.n]
    if not studies:
        yield Said(answer=Answer.CANNOT_TELL, text=_nothing(page.findings))
        return
    if len(studies) > 1:
        yield _bests_table(studies)
        yield from _which_is_better(page.findings)
    elif not studies[0].front:
        yield _headline(studies[0])
    for study in studies[:MOST_STUDIES]:
        if study.front:
            several = f"Trials that no other dominates, {study.label}"
            yield top_table(study.front[:MOST_FRONT], spread=None, caption=several, metric=study.metric)
            for trial in study.front[:MOST_COPIED]:
                title = f"{study.label}, trial {trial.number}"
                yield snippet(trial.params, title=title, derived=study.summary.derived)
        elif study.summary.best is not None and not is_constant(study.summary):
            named = f"{study.label}, trial {study.summary.best.number}" if len(studies) > 1 else "The configuration"
            yield snippet(study.summary.best.params, title=named, derived=study.summary.derived)


def _nothing(findings: Findings) -> str:
    if not findings.studies:
        return "There is no study to report on."
    states = ", ".join(states_text(study) for study in findings.studies)
    return f"There is no complete trial with a finite value: nothing can be said about the metric ({states})."


def _headline(study: StudyFindings) -> Headline:
    summary, best = study.summary, study.summary.best
    if best is None:
        return Headline(text=study.metric, lines=(states_text(study),))
    if is_constant(summary):
        same = f"the same in all {summary.n:,} trials: none is the best"
        return Headline(text=f"{study.metric} {number(best.value)}", lines=(same,))
    good = "higher" if study.direction == "maximize" else "lower"
    lines = [f"trial {best.number}{_shared(study, best)}; {good} is better", again_text(study)]
    lines += _better_on_average(study, best)
    if summary.n > 1:
        lines.append(_place(study, best))
    return Headline(text=f"{study.metric} {number(best.value, fine(study))}", lines=tuple(lines))


def _shared(study: StudyFindings, best: TopTrial) -> str:
    alike = sum(value == best.value for _, value in study.history)
    return f", the first of {alike:,} trials with this value" if alike > 1 else ""


def _better_on_average(study: StudyFindings, best: TopTrial) -> Iterator[str]:
    """Where several seeds of the best trial's configuration are worse than those of another one."""
    sign = 1 if study.direction == "maximize" else -1
    repeated = [(sign * sum(one.values) / one.count, one) for one in study.summary.repeated if one.count > 1]
    own = next((mean for mean, one in repeated if best.number in one.numbers), None)
    if own is None:
        return
    mean, other = max(repeated, key=lambda pair: pair[0])
    if mean > own:
        yield (
            f"On average the configuration of trial {other.numbers[0]} is better: {number(sign * mean, fine(study))} "
            f"over {count(other.count, 'trial')}; this one has {number(sign * own, fine(study))}."
        )


def expected_again(study: StudyFindings) -> tuple[Estimate, str] | None:
    """What the best configuration would score again, and how that is known; None if it is not."""
    curse = study.curse
    if curse is None:
        return None
    if curse.held_out is not None:
        return curse.held_out, "other seeds"
    return None if curse.shrunken is None else (curse.shrunken, "model")


def again_text(study: StudyFindings) -> str:
    known = expected_again(study)
    if known is None:
        return "What it would score again is unknown: these trials allow no model."
    estimate, source = known
    return f"Again it would score about {interval(estimate, fine(study))} ({source})."


def _place(study: StudyFindings, best: TopTrial) -> str:
    summary = study.summary
    assert summary.median is not None
    side = "above" if best.value >= summary.median else "below"
    away = f"{number(abs(best.value - summary.median), fine(study))} {side} the median of {count(summary.n, 'trial')}"
    if study.noise.sd is None:
        return f"It lies {away}. How many others are as good is unknown, because the noise is."
    near = within_noise(study) - 1
    others = "no other trial is" if near == 0 else f"{count(near, 'other trial is', 'other trials are')}"
    return f"It lies {away}; {others} within noise of it."


def _which_is_better(findings: Findings) -> Iterator[Block]:
    """Whether the table's bests have an order, and what the studies show where both have tried."""
    beside = findings.budgets
    if beside is None:
        return
    clear = [pair.text for pair in beside.pairs if pair.better is Answer.YES]
    if clear:
        yield Said(answer=Answer.YES, text="; ".join(clear[:MOST_PAIRS]))
    else:
        yield Said(answer=beside.order, text=_first_words(beside.order_text))


def _bests_table(studies: Sequence[StudyFindings]) -> Block:
    rows = []
    for study in studies:
        best, known = study.summary.best, expected_again(study)
        near = "?" if study.noise.sd is None or study.front else str(within_noise(study) - 1)
        value = "several metrics" if best is None else number(best.value, fine(study))
        again = "?" if known is None else interval(known[0], fine(study))
        rows.append([study.label, value, again, "" if best is None else str(best.number), near, str(study.summary.n)])
    metrics = {study.metric for study in studies}
    return table(
        f"Best {metrics.pop()}" if len(metrics) == 1 else "Best values",
        ["study", "best", "again [95 %]", "trial", "near ties", "complete"],
        rows,
        text=("study",),
        note="Again: if trained again. Near ties: within noise of the best.",
    )


def snippet(params: Mapping[str, Value], *, title: str, derived: Collection[str] = ()) -> Snippet:
    """A configuration as a sweep has it, as words of a command, and as Python's dictionary.

    Derived values are in the dictionary alone: a sweep computes them itself, and refuses them in [space].

    Texts in them are quoted as JSON quotes them, ``<`` as its escape, so that none can end its literal, hide a letter,
    or look like an element of HTML.
    """
    own = {name: value for name, value in params.items() if name not in derived}
    lines = [toml_line(name, value).replace("<", "\\u003c") for name, value in own.items()]
    words = " ".join(f"--set {shell_word('space.' + line.replace(' = ', '=', 1))}" for line in lines)
    return Snippet(
        title=title, texts=(("TOML", "\n".join(["[space]", *lines])), ("--set", words), ("Python", _python(params)))
    )


def _python(params: Mapping[str, Value]) -> str:
    def quoted(text: str) -> str:
        return json.dumps(text).replace("<", "\\u003c")

    pairs = (f"{quoted(name)}: {quoted(v) if isinstance(v, str) else repr(v)}" for name, v in params.items())
    return "{" + ", ".join(pairs) + "}"


# --- history, and what matters


def _history(page: Page) -> Iterator[Block]:
    studies = page.findings.studies
    for study in studies:
        drawn = page.plotted.get(study.label)
        if study.front and drawn is not None and drawn.every is not None:
            key = page.file_names[study.label]
            figure = front_figure(study, drawn.every, key, name=f"front-{key}")
            if figure is not None:
                yield figure
    shown = [study for study in studies if len(study.history) > 1][:MOST_STUDIES]
    name = page.file_names[shown[0].label] if len(shown) == 1 else "all"
    figure = history_figure(shown, page.file_names, name=f"history-{name}") if shown else None
    if figure is not None:
        yield figure


def _matters(page: Page) -> Iterator[Block]:
    studies = [study for study in page.findings.studies if study.summary.n]
    figure = directions_figure(studies[:MOST_STUDIES], name="directions")
    if figure is not None:
        yield figure
        return
    if not studies:
        return
    if all(study.front for study in studies):
        yield Text(text="Several metrics: no effect of a parameter is computed, as that needs one metric.")
        return
    yield Said(
        answer=Answer.CANNOT_TELL, text=" ".join(_undirected(study, several=len(studies) > 1) for study in studies)
    )


def _undirected(study: StudyFindings, *, several: bool) -> str:
    """Why no direction of any parameter is shown."""
    where = f"{study.label}: " if several else ""
    if not any(effect.varied for effect in study.effects):
        return f"{where}No parameter was varied."
    return f"{where}{not_directed(study) or 'No parameter has an effect that these trials confirm.'}"


# --- what to do next


def next_steps(findings: Findings) -> Block:
    """The first actions of all findings, each with its command."""
    every = len(findings.studies)
    seen: dict[str, list[Action]] = {}
    for action in first_steps(findings.actions, MOST_KNOWN):
        seen.setdefault(action_text(action), []).append(action)
    steps = []
    for text, actions in list(seen.items())[: MOST_STEPS - (every > 1)]:
        named = list(dict.fromkeys(action.study for action in actions if action.study))
        who = f" ({listed(named, most=2)})" if every > 1 and 0 < len(named) < every else ""
        command = next((action.command for action in actions if action.command), "")
        steps.append(Step(text=f"{text[0].upper()}{text[1:]}{who}", command=command))
    if not steps:
        return Text(text="Nothing follows from these trials.")
    return Steps(steps=tuple(steps))


# --- a line each


def _facts(findings: Findings) -> Iterator[tuple[str, str]]:
    studies = findings.studies
    several = len(studies) > 1

    def each(text_of: Callable[[StudyFindings], str]) -> str:
        texts = [(study.label, text_of(study)) for study in studies]
        known = [(label, text) for label, text in texts if text]
        if len({text for _, text in known}) == 1 and len(known) == len(studies):
            return str(known[0][1])
        return (
            "; ".join(text for _, text in known)
            if len(known) == len(studies)
            else "; ".join(f"{label}: {text}" for label, text in known)
        )

    rows = [
        ("Trials", each(states_text) + (" each" if several and len({states_text(s) for s in studies}) == 1 else "")),
        ("Time", each(_time)),
        ("Coverage", each(lambda study: _coverage(study, short=several))),
        ("Comes from", each(lambda study: line_text(study.lineage)) if len(studies) <= MOST_STUDIES else ""),
        ("Also reported", each(lambda study: _also(study, short=several))),
    ]
    warnings = list(_warnings(findings))
    rows.append(("Warnings", "; ".join(warnings) if warnings else "none"))
    yield from ((name, text) for name, text in rows if text)


def states_text(study: StudyFindings) -> str:
    """``15 complete, 45 pruned``."""
    words = {"FAIL": "failed"}
    states = [f"{n} {words.get(state, state.lower())}" for state, n in study.summary.states.items() if n]
    return ", ".join(states) or "no trials"


def _time(study: StudyFindings) -> str:
    used = study.efficiency
    if used.gpu_hours is not None:
        return (
            f"{hours(used.gpu_hours).removesuffix(' h')} GPU hours"
            if used.gpu_hours >= 1
            else f"{hours(used.gpu_hours)} of GPUs"
        )
    return "not recorded" if used.hours is None else hours(used.hours)


def _coverage(study: StudyFindings, *, short: bool) -> str:
    sets = [c for c in study.coverage if not c.counts and c.cells]
    whole = next((c for c in sets if c.label == "architecture"), sets[0] if sets else None)
    if whole is None:
        return "cannot be counted: a parameter is continuous" if study.coverage else ""
    called = "combinations" if whole.label == "all" else f"{whole.label} combinations"
    below = ", fewer than random trials find" if whole.answer is Answer.NO else ""
    return f"{whole.found:,} of {whole.cells:,}" if short else f"{whole.found:,} of {whole.cells:,} {called}{below}"


def _also(study: StudyFindings, *, short: bool) -> str:
    found = strong(study)
    by = "" if short else f" by rank with {study.metric}"
    return f"{named_metrics(found[:1] if short else found)}{by}" if found else ""


def _warnings(findings: Findings) -> Iterator[str]:
    several = len(findings.studies) > 1
    for study in findings.studies:
        where = f"{study.label}: " if several else ""
        suspects = list(dict.fromkeys(suspect.number for suspect in study.suspects))
        if suspects:
            yield f"{where}look at {'trial' if len(suspects) == 1 else 'trials'} {some(suspects)} first"
        if study.summary.skipped:
            yield f"{where}{count(study.summary.skipped, 'trial')} without a finite value left out"
    unknown = [
        study.label for study in findings.studies if study.summary.n and study.noise.sd is None and not study.front
    ]
    if unknown:
        every = len(unknown) == len(findings.studies)
        yield "the noise floor is unknown" + ("" if every else f" ({', '.join(unknown)})")
    for finding in findings.findings:
        if _is_grave(finding):
            where = f"{finding.study}: " if several and finding.study else ""
            yield where + _first_words(finding.text.removeprefix(f"{finding.study}: "))


def _is_grave(finding: Finding) -> bool:
    """Whether whoever reads no more than the first page has to know."""
    key, answer = finding.key, finding.answer
    if key == "order":
        # also where a parameter may have done it: there is something to do about it
        return answer is Answer.YES or bool(finding.actions)
    if key.startswith("survival"):
        return answer is Answer.YES
    if key in ("trials.unfinished", "trials.two_values"):
        return True
    if key.startswith("noise.alarm"):
        return answer is Answer.NO
    return key == "health.collapse" and answer is Answer.YES


def _first_words(text: str) -> str:
    """The first clause of a sentence, without what it has in brackets: the whole of it stands below."""
    plain = re.sub(r" \([^()]*\)", "", text)
    end = CLAUSE.search(plain, FEWEST_LETTERS)
    return plain[: end.start()] if end else plain
