"""Findings as a reader meets them: what holds of several studies is said once, no kind hides the others."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Final, TypeAlias

from hpo_batch.document.blocks import Said
from hpo_batch.findings.records import Finding, Findings
from hpo_batch.text.numbers import p_value

FIRST_SCREEN: Final = 7
MOST_OF_A_KIND: Final = 2
MOST_TO_DO: Final = 6

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


def first_screen(told: Sequence[Told]) -> list[Told]:
    """What a reader should know first: of each kind the most telling ones, so that no kind hides the others."""
    chosen: list[Told] = []
    taken: Counter[str] = Counter()
    for finding, who in told:
        kind = finding.key.partition(".")[0]
        if len(chosen) < FIRST_SCREEN and taken[kind] < MOST_OF_A_KIND:
            taken[kind] += 1
            chosen.append((finding, who))
    return chosen


def said(finding: Finding, studies: str, *, detailed: bool = False) -> Said:
    tests = [
        f"p = {p_value(finding.p)}" if finding.p is not None else "",
        f"after Holm {p_value(finding.p_holm)}" if finding.p_holm is not None else "",
        f"n = {finding.n}" if finding.n else "",
        finding.method,
    ]
    return Said(
        answer=finding.answer,
        question=finding.question,
        text=_text(finding),
        study=studies,
        do=finding.do if detailed else "",
        detail="; ".join(part for part in tests if part).replace("= <", "<") if detailed else "",
    )


def _text(finding: Finding) -> str:
    # it may be read alone, so it begins with the study's name, which stands beside it here
    return finding.text.removeprefix(f"{finding.study}: ") if finding.study else finding.text


def to_do(findings: Findings) -> tuple[str, ...]:
    wanted: dict[str, list[str]] = {}
    for finding in findings.findings:
        if finding.do:
            wanted.setdefault(finding.do, []).append(finding.study)
    texts = []
    for do, studies in wanted.items():
        named = [study for study in dict.fromkeys(studies) if study]
        is_told = len(findings.studies) > 1 and 0 < len(named) < len(findings.studies)
        texts.append(f"{do} ({', '.join(named)})" if is_told else do)
    return tuple(texts)[:MOST_TO_DO]
