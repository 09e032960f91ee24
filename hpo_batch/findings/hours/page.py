"""Where the time went."""

from __future__ import annotations

from hpo_batch.document.blocks import Said, Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.hours.figure import gpu_hours_figure
from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.records import Answer
from hpo_batch.text.numbers import duration, hours


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        efficiency = study.efficiency
        blocks: Blocks = []
        known = efficiency.gpu_hours is not None or efficiency.hours is not None
        text = efficiency.text or efficiency.why or "Times were not recorded."
        blocks.append(
            Said(answer=Answer.YES if known else Answer.NOT_MEASURED, question="Are the hours known?", text=text)
        )
        parts = [f"GPU hours: {hours(efficiency.gpu_hours)}"] if efficiency.gpu_hours is not None else []
        parts += [f"hours of attempts: {hours(efficiency.hours)}"] if efficiency.hours is not None else []
        parts += (
            [f"median wait in the queue: {duration(efficiency.queue_wait_s)}"]
            if efficiency.queue_wait_s is not None
            else []
        )
        if parts:
            blocks.append(Text(text="; ".join(parts) + "."))
        add(
            blocks,
            gpu_hours_figure(
                efficiency, name=f"hours-{page.file_names[study.label]}", title=f"Where the hours went: {study.label}"
            ),
        )
        return [*blocks, *attempts_table(efficiency)]

    return make_section(
        "hours",
        "Hours",
        "Where did the time go?",
        per_study(page.findings, of),
        "Times are those of attempts, from claim to end; waiting inside "
        "SLURM's queue is not in them. A slow node and a node that drew long "
        "trials look alike here.",
    )


def attempts_table(efficiency: Efficiency) -> tuple[Table, ...]:
    outcome = [[o, hours(h), str(n)] for o, h, n in efficiency.by_outcome]
    nodes = [[node, hours(h), str(n), str(failed)] for node, h, n, failed in efficiency.by_node]
    causes = [[cause, node, str(n)] for cause, node, n in efficiency.failures]
    made = []
    if outcome:
        made.append(table("Hours by outcome", ["outcome", "hours", "attempts"], outcome, text=("outcome",)))
    if nodes:
        made.append(table("Hours by node", ["node", "hours", "attempts", "failed"], nodes, text=("node",)))
    if causes:
        made.append(table("Failures by cause and node", ["cause", "node", "times"], causes, text=("cause", "node")))
    return tuple(made)
