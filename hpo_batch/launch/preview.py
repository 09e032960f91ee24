"""What a plan would submit to SLURM, for the dry run, built by the same functions as a submission."""

from __future__ import annotations

import itertools
from collections.abc import Iterator

from hpo_batch.errors import UserError
from hpo_batch.launch import collector
from hpo_batch.launch.arrays import array_script
from hpo_batch.launch.plan import Plan
from hpo_batch.store.submissions import Submission, job_name

# placeholder for the random id of a submission
ID = "<id>"


def preview(plan: Plan) -> list[str]:
    """Why the plan would be rejected, and the scripts of its jobs.

    If arrays differ only in size, one script is shown in full. Ids that are not known yet are in angle brackets.
    """
    lines = [f"  refused: {reason}" for reason in plan.change.against]
    if not plan.workers or plan.is_local:
        return lines
    return [*lines, *_array_lines(plan), *_collector_lines(plan)]


def _array_lines(plan: Plan) -> Iterator[str]:
    scripts = (array_script(plan, _submission(plan), array) for array in plan.arrays)
    first, number = "", 1
    for text, same in itertools.groupby(scripts):
        count = len(list(same)) - (0 if first else 1)
        if not first:
            first = text
            yield from ("", text)
            number += 1
        if count:
            which = f"array {number}" if count == 1 else f"arrays {number} to {number + count - 1}"
            sizes = [line for line in text.splitlines() if line.startswith("#SBATCH --array=")]
            yield f"{which} of {len(plan.arrays)}: the same script{''.join(f' with {line}' for line in sizes)}"
        number += count


def _collector_lines(plan: Plan) -> Iterator[str]:
    if not plan.collects:
        return
    yield ""
    try:
        small = collector.collector_job(plan.sweep.job, near=plan.workdir)
        yield collector.script(plan, small, _submission(plan))
    except UserError as error:
        yield f"the collector would be refused: {error}"


def _submission(plan: Plan) -> Submission:
    """The submission's record, with placeholders."""
    numbers = range(1, len(plan.arrays) + 1)
    return Submission(
        id=ID,
        kind=plan.sweep.job.scheduler,
        workers=plan.workers,
        workers_per_task=1,
        walltime_s=plan.sweep.job.walltime,
        submitted=0.0,
        name=job_name(plan.home, ID),
        job_ids=tuple(f"<job {number}>" if len(plan.arrays) > 1 else "<job>" for number in numbers),
    )
