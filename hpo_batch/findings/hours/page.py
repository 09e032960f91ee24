"""Where the time went."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Text
from hpo_batch.findings import figures, tables
from hpo_batch.findings.parts import Blocks, add, make_section, per_study
from hpo_batch.findings.records import Findings, StudyFindings
from hpo_batch.records import Answer
from hpo_batch.text.numbers import duration, hours


def section(findings: Findings, names: dict[str, str]) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        found = study.efficiency
        blocks: Blocks = []
        known = found.gpu_hours is not None or found.hours is not None
        told = found.text or found.why or "Times were not recorded."
        blocks.append(
            Said(answer=Answer.YES if known else Answer.NOT_MEASURED, question="Are the hours known?", text=told)
        )
        parts = [f"GPU hours: {hours(found.gpu_hours)}"] if found.gpu_hours is not None else []
        parts += [f"hours of attempts: {hours(found.hours)}"] if found.hours is not None else []
        parts += [f"median wait in the queue: {duration(found.queue_wait_s)}"] if found.queue_wait_s is not None else []
        if parts:
            blocks.append(Text(text="; ".join(parts) + "."))
        add(
            blocks,
            figures.gpu_hours(found, name=f"hours-{names[study.label]}", title=f"Where the hours went: {study.label}"),
        )
        return [*blocks, *tables.attempts(found)]

    return make_section(
        "hours",
        "Hours",
        "Where did the time go?",
        per_study(findings, of),
        "Times are those of attempts, from claim to end; waiting inside "
        "SLURM's queue is not in them. A slow node and a node that drew long "
        "trials look alike here.",
    )
