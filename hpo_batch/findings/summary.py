"""Findings as a reader meets them: what holds of several studies or parameters is said once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Final, TypeAlias

from hpo_batch.document.blocks import Said
from hpo_batch.findings.phrases import p_text
from hpo_batch.findings.records import Finding, Findings
from hpo_batch.records import Answer
from hpo_batch.text.numbers import p_value

TOGETHER: Final[Mapping[str, Mapping[Answer, tuple[str, str]]]] = {
    "effect": {
        Answer.CANNOT_TELL: ("Do these parameters matter?", "no effect is confirmed, p after Holm"),
        Answer.NOT_MEASURED: ("Do these parameters matter?", "not varied, so no statement is possible"),
    },
    "budgets.consistency": {
        Answer.CANNOT_TELL: ("Is the best value the same everywhere?", "the best trials differ, as they do by chance"),
        Answer.YES: ("Is the best value the same everywhere?", "the best trials agree"),
        Answer.NOT_MEASURED: ("Is the best value the same everywhere?", "not all best trials have it"),
    },
}
"""by the kind of findings that are told together: for an answer, their common question and text"""

Told: TypeAlias = tuple[Finding, str]
"""a finding, and the studies of which it is true, for readers"""


def told_once(findings: Findings) -> list[Told]:
    """The findings, most telling first; what is the same of several studies is said once, at the first one's place."""
    alike: dict[tuple[object, ...], list[Finding]] = {}
    for finding in findings.findings:
        key = (finding.key, finding.question, finding.answer, _text(finding), finding.do)
        alike.setdefault(key, []).append(finding)
    every = [study.label for study in findings.studies]
    texts = []
    for group in alike.values():
        names = [finding.study for finding in group if finding.study]
        # there is but one study, whose name need not be said with every sentence
        who = "" if len(every) == 1 else f"all {len(every)} studies" if names == every else ", ".join(names)
        texts.append((group[0], who))
    return texts


def merged(told: Sequence[Told]) -> list[Told]:
    """Findings that say the same of several parameters as one, at the first one's place."""
    groups: dict[object, list[Told]] = {}
    for finding, who in told:
        kind, name = _kind_and_name(finding.key)
        is_alike = bool(name) and finding.answer in TOGETHER[kind]
        key = (kind, finding.answer, who) if is_alike else (finding.key, id(finding))
        groups.setdefault(key, []).append((finding, who))
    return [group[0] if len(group) == 1 else (_one_of([f for f, _ in group]), group[0][1]) for group in groups.values()]


def _kind_and_name(key: str) -> tuple[str, str]:
    """Of what is told together its kind, and the parameter, whose name may have dots of its own."""
    for kind in TOGETHER:
        if key.startswith(f"{kind}."):
            return kind, key.removeprefix(f"{kind}.")
    return key, ""


def _one_of(findings: Sequence[Finding]) -> Finding:
    """One finding in place of several alike: it names what each was about, with its p."""
    first = findings[0]
    kind = _kind_and_name(first.key)[0]
    question, text = TOGETHER[kind][first.answer]
    named = [
        _kind_and_name(finding.key)[1] + ("" if finding.p_holm is None else f" ({p_text(finding.p_holm)})")
        for finding in findings
    ]
    return replace(first, question=question, text=f"{text}: {', '.join(named)}", p=None, p_holm=None, actions=(), do="")


def said(finding: Finding, studies: str, *, detailed: bool = False) -> Said:
    text = _text(finding)
    told = "after Holm" in text  # with its p
    tests = [
        f"p = {p_value(finding.p)}" if finding.p is not None and not told else "",
        f"after Holm {p_value(finding.p_holm)}" if finding.p_holm is not None and not told else "",
        f"n = {finding.n}" if finding.n and f"n = {finding.n}" not in finding.method else "",
        finding.method,
    ]
    return Said(
        answer=finding.answer,
        question=finding.question,
        text=text,
        study=studies,
        detail="; ".join(part for part in tests if part).replace("= <", "<") if detailed else "",
    )


def _text(finding: Finding) -> str:
    # it may be read alone, so it begins with the study's name, which stands beside it here
    return finding.text.removeprefix(f"{finding.study}: ") if finding.study else finding.text
