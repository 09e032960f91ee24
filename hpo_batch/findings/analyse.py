"""From the tables of a report to all of its findings: every subject once, then one adjustment over all claims.

The claims are what parameters do, over all studies of the report: that family is adjusted by Holm. Interactions are a
screen and a family of their own. Coverage, budgets and nodes are judged against their own reference and say how.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import Any, Final

from threadpoolctl import threadpool_limits

from hpo_batch.findings.actions import gathered, suits, with_command
from hpo_batch.findings.known import Known
from hpo_batch.findings.model.frame import prepare
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Ranked, ReportInput, StudyInput, Subject
from hpo_batch.findings.subjects import SUBJECTS
from hpo_batch.results.table import TrialsTable
from hpo_batch.text.lines import printable, shell_word
from hpo_batch.text.names import unique_names

MOST_TOP = 60
FILES: Final = frozenset({".csv", ".tsv", ".json", ".jsonl", ".parquet"})
"""suffixes of files that do not say which column is the metric"""


def analyse(
    tables: Sequence[TrialsTable],
    *,
    seed: int = 0,
    top: int = MOST_TOP,
    known: Known | None = None,
    subjects: Sequence[Subject] = SUBJECTS,
) -> Findings:
    """All findings about some studies, the most important ones first.

    Any table will do: where a number cannot be computed, its record says why.

    Args:
        tables: one for each study.
        seed: of resamples and forests.
        top: trials over all studies whose shares are compared.
        known: what a person knows beside the trials.
        subjects: the questions to answer; best, noise, health and hours, which others read, must be among them.
    """
    # The factorizations are small and many: threads would wait for each other longer than they compute, and the last
    # digits would depend on their number (https://github.com/joblib/threadpoolctl).
    with threadpool_limits(limits=1, user_api="blas"):
        return _analyse(tables, seed=seed, top=top, known=known or Known(), subjects=subjects)


def _analyse(
    tables: Sequence[TrialsTable], *, seed: int, top: int, known: Known, subjects: Sequence[Subject]
) -> Findings:
    inputs = [
        StudyInput(data=prepare(table), label=label, known=known, seed=seed)
        for table, label in zip(tables, unique_names([table.label or table.source for table in tables]), strict=True)
    ]
    studies: Sequence[StudyFindings] = [_study(study, subjects) for study in inputs]
    for subject in subjects:
        if subject.adjust is not None:
            studies = subject.adjust(studies)
    findings = Findings(
        studies=tuple(studies),
        findings=(),
        family=len({(s.label, effect.claim) for s in studies for effect in s.effects if effect.p is not None}),
        warnings=tuple(_warnings(inputs)),
        **_common(inputs, studies, subjects, top=top, seed=seed),
    )
    told = tuple(_with_actions(finding, inputs) for finding in _in_order(findings, subjects))
    return replace(findings, findings=told, actions=gathered(action for each in told for action in each.actions))


def _with_actions(finding: Finding, inputs: Sequence[StudyInput]) -> Finding:
    """The finding whose actions know their study, their evidence, and the command that begins them."""
    tables = {study.label: study.data.table for study in inputs}
    actions = []
    for action in finding.actions:
        named = replace(action, study=action.study or finding.study, evidence=(finding.key,))
        table = tables.get(named.study)
        if table is not None:
            named = with_command(
                named,
                source=table.source,
                is_study=table.home is not None,
                trials=table.counts.target,
                searches=table.sweep is None or not table.sweep.sampler.capabilities.is_list,
                options=_options(table),
            )
        if all(suits(named, by) for by in ([_by(table)] if table is not None else map(_by, tables.values()))):
            actions.append(named)
    return replace(finding, actions=tuple(actions))


def _by(table: TrialsTable) -> str | None:
    """The command that wrote a study's sweep; None for one that was written by hand, and for a file."""
    return table.sweep.previous.by if table.sweep is not None and table.sweep.previous is not None else None


def _options(table: TrialsTable) -> str:
    """What a file does not say of itself; a storage knows its metric."""
    if table.home is not None or len(table.metrics) != 1 or Path(table.source).suffix.lower() not in FILES:
        return ""
    return f" --value {shell_word(printable(table.metrics[0]))} --direction {table.directions[0]}"


def _study(study: StudyInput, subjects: Sequence[Subject]) -> StudyFindings:
    table = study.data.table
    several = len(table.metrics) > 1
    records = {
        key: compute(study)
        for subject in subjects
        for key, compute in (subject.records_of_several_metrics if several else subject.records).items()
    }
    return StudyFindings(
        label=study.label,
        metric=", ".join(table.metrics) if several else study.data.metric,
        direction=", ".join(table.directions) if several else study.data.direction,
        **_split(records, StudyFindings),
    )


def _common(
    inputs: Sequence[StudyInput],
    studies: Sequence[StudyFindings],
    subjects: Sequence[Subject],
    *,
    top: int,
    seed: int,
) -> dict[str, Any]:
    """The records of all studies together; those with several metrics are not compared."""
    single = [i for i, study in enumerate(inputs) if len(study.data.table.metrics) < 2]
    report = ReportInput(studies=[inputs[i] for i in single], findings=[studies[i] for i in single], top=top, seed=seed)
    records = {key: compute(report) for subject in subjects for key, compute in subject.common.items()}
    return _split(records, Findings)


def _split(records: dict[str, Any], kind: type) -> dict[str, Any]:
    """Arguments of ``kind``: its own fields, and everything else under ``more``."""
    own = {field.name for field in fields(kind)}
    return {
        **{key: record for key, record in records.items() if key in own},
        "more": {key: record for key, record in records.items() if key not in own},
    }


def _in_order(findings: Findings, subjects: Sequence[Subject]) -> tuple[Finding, ...]:
    """All findings, the most important ones first; those of one place stay in the order of the studies."""
    sentences = [*_of_studies(findings, subjects), *_of_all(findings, subjects)]
    return tuple(ranked.finding for ranked in sorted(sentences, key=lambda ranked: (ranked.place, ranked.within)))


def _of_studies(findings: Findings, subjects: Sequence[Subject]) -> Iterator[Ranked]:
    for study, subject in itertools.product(findings.studies, subjects):
        if subject.sentences is not None and (study.summary.n or subject.speaks_without_trials):
            yield from subject.sentences(study, findings)


def _of_all(findings: Findings, subjects: Sequence[Subject]) -> Iterator[Ranked]:
    for subject in subjects:
        if subject.common_sentences is not None:
            yield from subject.common_sentences(findings)


def _warnings(studies: Sequence[StudyInput]) -> Iterator[str]:
    for study in studies:
        given = study.data.table.label or study.data.table.source
        if given != study.label:
            yield f"several sources are called '{given}': {study.data.table.source} is '{study.label}' here"
    for study in studies:
        yield from (f"{study.label}: {note}" for note in study.data.table.notes)
    for study in studies:
        if study.data.skipped:
            yield (
                f"{study.label}: {study.data.skipped} complete trial(s) without a finite value are left out of "
                "everything"
            )
    if len({(study.data.metric, study.data.direction) for study in studies}) > 1:
        yield "the studies have different metrics or directions: they are not compared with each other"
