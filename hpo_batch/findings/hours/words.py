"""Where the hours went, and nodes that fail more than others."""

from __future__ import annotations

from collections.abc import Iterator

from hpo_batch.findings.actions import Action, ActionKind
from hpo_batch.findings.hours.numbers import bad_node
from hpo_batch.findings.model.stats import ALPHA
from hpo_batch.findings.phrases import p_text
from hpo_batch.findings.records import Finding, Findings, StudyFindings
from hpo_batch.findings.subject import Place, Ranked
from hpo_batch.records import Answer


def sentences(study: StudyFindings, _: Findings) -> Iterator[Ranked]:
    used = study.efficiency
    yield Ranked(
        Place.HOURS,
        Finding(
            key="efficiency",
            study=study.label,
            question="Is it known where the hours went?",
            answer=Answer.NOT_MEASURED if used.hours is None else Answer.YES,
            text=f"{study.label}: {used.text}",
            method="sum over attempts",
        ),
    )
    worst = bad_node(used.by_node)
    if worst is not None and worst[1] < ALPHA:
        node, p = worst
        n, failed = next((row[2], row[3]) for row in used.by_node if row[0] == node)
        total, all_failed = sum(row[2] for row in used.by_node), sum(row[3] for row in used.by_node)
        yield Ranked(
            Place.BAD_NODE,
            Finding(
                key=f"efficiency.node-{node}",
                study=study.label,
                question="Does a node fail more than others?",
                answer=Answer.YES,
                actions=(Action(kind=ActionKind.EXCLUDE_NODE, where=node),),
                p=p,
                n=total,
                text=f"{study.label}: {failed} of {n} attempts on {node} failed, {all_failed - failed} of {total - n} "
                f"elsewhere ({p_text(p)}, over all nodes)",
                method="hypergeometric test of each node, Holm over the nodes",
            ),
        )
