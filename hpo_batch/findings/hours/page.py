"""Where the time went."""

from __future__ import annotations

from hpo_batch.document.blocks import Section, Table, Text
from hpo_batch.document.tables import table
from hpo_batch.findings.hours.figure import gpu_hours_figure
from hpo_batch.findings.hours.numbers import Efficiency
from hpo_batch.findings.records import StudyFindings
from hpo_batch.findings.subject import Blocks, Page, add, make_section, per_study
from hpo_batch.text.numbers import duration, hours


def section(page: Page) -> Section | None:
    def of(study: StudyFindings) -> Blocks:
        efficiency = study.efficiency
        blocks: Blocks = []
        if efficiency.queue_wait_s is not None:
            blocks.append(Text(text=f"Median wait in the queue: {duration(efficiency.queue_wait_s)}."))
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
        "Times are those of attempts, from claim to end. A slow node and a node that drew long trials look alike.",
    )


def attempts_table(efficiency: Efficiency) -> tuple[Table, ...]:
    outcome = [[o, hours(h), str(n)] for o, h, n in efficiency.by_outcome]
    nodes = [[node, hours(h), str(n), str(failed)] for node, h, n, failed in efficiency.by_node]
    causes = [[cause, node, str(n)] for cause, node, n in efficiency.failures]
    made = []
    if outcome:
        made.append(table("Hours by outcome", ["outcome", "hours", "attempts"], outcome, text=("outcome",), paper=True))
    if nodes:
        made.append(table("Hours by node", ["node", "hours", "attempts", "failed"], nodes, text=("node",), paper=True))
    if causes:
        made.append(table("Failures by cause and node", ["cause", "node", "times"], causes, text=("cause", "node")))
    return tuple(made)
