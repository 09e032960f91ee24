"""Start or continue sweeps: the common part of ``submit`` and ``resume``, for commands and for Python users.

Only one process at a time counts the missing workers, plans them and submits them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from hpo_batch.errors import HpoBatchError, UserError
from hpo_batch.launch.carry_out import carry_out, note_found
from hpo_batch.launch.checks import describe_imports, describe_sharing, predictions_beside, refusals
from hpo_batch.launch.collector import why_not
from hpo_batch.launch.facts import Fact, Note, NotResumed, Planned, PutAside, Refused, Submitted, Tell, Warned
from hpo_batch.launch.plan import Plan, Site, Standing, plan
from hpo_batch.launch.provenance import code_changes
from hpo_batch.launch.submit_lock import turn
from hpo_batch.launch.task_exits import how_they_ended
from hpo_batch.launch.task_layout import USUAL_ARRAY_LIMIT, array_limit, shape_of
from hpo_batch.launch.trash import put_aside
from hpo_batch.launch.updates import bring_up_to_date, start_held_back
from hpo_batch.monitor.live import Live, live
from hpo_batch.objective.mistakes import doubts as objective_doubts
from hpo_batch.scheduler.gpus import local_gpus
from hpo_batch.scheduler.registry import BATCH
from hpo_batch.store.home import StudyHome, check_enterable, home_of
from hpo_batch.store.sharing import check_ours
from hpo_batch.store.submissions import read_submissions
from hpo_batch.study.create import what_changes
from hpo_batch.study.read import read_state
from hpo_batch.study.stop_rules import of_sweep
from hpo_batch.study.stopped import nothing_left
from hpo_batch.study.translate import target_with_history
from hpo_batch.sweep.difference import Change
from hpo_batch.sweep.doubts import warnings
from hpo_batch.sweep.load import load
from hpo_batch.sweep.part import part_of
from hpo_batch.sweep.schema import Job, Sweep
from hpo_batch.sweep.size import target


@dataclass(frozen=True, kw_only=True)
class Request:
    """A sweep to start or continue."""

    sweep: Sweep
    home: StudyHome
    toml: str = ""
    """text of its file, stored in the study for people to read"""
    workdir: Path = field(default_factory=Path.cwd)
    """working directory of its workers, from which the user's code is imported"""
    folder: Path | None = None
    """of its file, where the predictions lie that its [previous] names; None for a study's stored sweep"""


def requests_of_file(
    path: Path,
    *,
    root: Path,
    overrides: Sequence[str] = (),
    start_from: str | None = None,
    only: str | None = None,
    set_of: str | None = None,
) -> list[Request]:
    """The requests of a sweep file: one, or one per budget.

    Args:
        root: the logs directory.
        overrides: changes to the sweep, ``key=value``; of several for one key, the last wins.
        start_from, only, set_of: see ``part_of``.

    Raises:
        SweepInvalid: the file has mistakes; the error lists all of them.
        UserError: there is no such file, budget, trial or set.
    """
    sweeps = part_of(load(path, overrides=overrides), start_from=start_from, only=only, set_of=set_of)
    text = path.read_text(encoding="utf-8")
    return [Request(sweep=sweep, home=home_of(root, sweep.path), toml=text, folder=path.parent) for sweep in sweeps]


@dataclass(frozen=True, kw_only=True)
class Result:
    """The result of a submission."""

    plans: tuple[Plan, ...]
    started: tuple[Plan, ...] = ()
    """plans that were carried out; empty in a dry run"""
    error: HpoBatchError | None = None
    """why one of several budgets could not be submitted"""


def submit_sweeps(
    requests: Sequence[Request],
    *,
    tell: Tell = lambda fact: None,
    dry_run: bool = False,
    fresh: bool = False,
    after: str | None = None,
) -> Result:
    """Create or revise the study of each sweep, and start its missing workers.

    Args:
        tell: called with each event as it happens.
        dry_run: only plan; nothing is written, locked or submitted.
        fresh: move existing studies to the trash and start over.
        after: the submission whose collector calls this; ``NotResumed`` says why it does not resume.

    Raises:
        UserError: a sweep, its objective or an edit is invalid.
        StorageError: a study cannot be read or written.
        SlurmError: SLURM rejects the job or cannot be reached; with several budgets it is the result's ``error``.
    """
    _check(requests, tell, dry_run=dry_run, fresh=fresh)
    with contextlib.ExitStack() as stack:
        # in one order for all processes, so that two submissions of several budgets cannot deadlock
        for one in sorted(requests, key=lambda one: one.home.name) if not dry_run else ():
            stack.enter_context(turn(one.home, shared=one.sweep.study.shared))
        existing = [one.home for one in requests if one.home.exists]
        there = live(existing, over=() if after is None else (after,), say=lambda text: tell(Note(text=text)))
        _make_room(requests, there, stack, tell, dry_run=dry_run, fresh=fresh)
        plans = tuple(plan_for(one, there.get(one.home.name)) for one in requests)
        for made in plans:
            _tell_doubts(made, tell)
        if dry_run:
            for made in plans:
                tell(Planned(plan=made))
            return Result(plans=plans)
        for home in existing:
            if home.name in there:
                note_found(home, there[home.name].queue)
        resumes = 0 if after is None else _next_resume(plans[0], after, there[plans[0].home.name])
        if isinstance(resumes, NotResumed):
            tell(resumes)
            return Result(plans=plans)
        return _carry_out_all(plans, requests, there, tell, resumes=resumes)


def plan_for(request: Request, live_workers: Live | None) -> Plan:
    """The plan for an existing study, or for a new one if ``live_workers`` is None."""
    sweep, home = request.sweep, request.home
    site = _site(sweep.job)
    change, standing = Change(created=True), Standing(remaining=target(sweep))
    if live_workers is not None:
        state = read_state(home)
        change = what_changes(home, sweep, state)
        finished = state.counts().finished
        remaining = max(0, target_with_history(sweep, state) - finished)
        standing = Standing(
            remaining=remaining,
            finished=finished,
            live_workers=live_workers.workers,
            on_hold=live_workers.on_hold,
            nothing_left=nothing_left(home, state, of_sweep(sweep)) if remaining and not change.against else None,
            not_counted=live_workers.not_counted,
            doubts=live_workers.doubts,
        )
    return plan(home, sweep, change=change, site=site, standing=standing, workdir=request.workdir)


def _site(job: Job) -> Site:
    is_local, slurm = job.is_local, BATCH.is_here()
    gpus = tuple(gpu.uuid for gpu in local_gpus(os.environ)) if is_local else ()
    may_be_split = slurm and not is_local and shape_of(job).tasks_for(job.workers) >= USUAL_ARRAY_LIMIT
    limit = array_limit() if may_be_split else None
    return Site(has_slurm=slurm, gpus=gpus, environ=os.environ, array_limit=limit)


def _check(requests: Sequence[Request], tell: Tell, *, dry_run: bool, fresh: bool) -> None:
    """Checks that need neither a lock nor SLURM.

    Raises:
        UserError: the workers would not find the objective, or an import does not fit.
        StorageError: a study belongs to somebody else, or cannot be read.
    """
    for one in requests:
        for text in warnings(one.sweep):
            tell(Warned(text=text))
        with contextlib.chdir(one.workdir):  # where workers look for the objective
            wrong, missing = refusals(one.sweep)
            doubts = objective_doubts(one.sweep)
        if wrong:
            raise UserError("\n".join(wrong))
        for text in (*doubts, *missing):
            tell(Warned(text=text))
    for one in requests:
        check_enterable(one.home.path) if dry_run else check_ours(one.home)
    for one in requests if not fresh else ():
        if one.home.exists:
            what_changes(one.home, one.sweep, read_state(one.home))  # fails before locking if it cannot be read
    for one in requests:
        _tell_all(tell, *describe_imports(one.sweep, one.home))
        if doubt := predictions_beside(one.sweep, one.home, one.folder)[1]:
            tell(Warned(text=doubt))


def _tell_all(tell: Tell, notes: Collection[str], doubts: Collection[str]) -> None:
    for text in notes:
        tell(Note(text=text))
    for text in doubts:
        tell(Warned(text=text))


def _make_room(
    requests: Sequence[Request],
    there: dict[str, Live],
    stack: contextlib.ExitStack,
    tell: Tell,
    *,
    dry_run: bool,
    fresh: bool,
) -> None:
    """Move studies that start over to the trash, and remove them from ``there``."""
    for one in requests:
        home = one.home
        why = _begins_anew(home, one.sweep, fresh=fresh) if home.name in there else ""
        if not why:
            continue
        plan_for(one, None)  # what refuses the new study must do so while the old one is still there
        live_workers = there.pop(home.name)
        path = None if dry_run else put_aside(home, read_state(home), live_workers, now=time.time())
        tell(PutAside(home=home, why=why, path=path))
        if path is not None:
            stack.enter_context(turn(home, shared=one.sweep.study.shared))


def _begins_anew(home: StudyHome, sweep: Sweep, *, fresh: bool) -> str:
    """Why the existing study is moved to the trash; empty if it continues.

    Before the first trial has finished, edits that change the meaning of trials are common.
    """
    if fresh:
        return "the existing study is moved to the trash"
    state = read_state(home)
    counts = state.counts()
    if counts.finished or counts.running or counts.waiting or not what_changes(home, sweep, state).against:
        return ""
    return "no trial of the existing study has finished: it is moved to the trash"


def _tell_doubts(made: Plan, tell: Tell) -> None:
    notes, doubts = describe_sharing(made.sweep, made.home)
    _tell_all(tell, notes, (*made.warnings, *_code_warnings(made), *doubts))


def _code_warnings(made: Plan) -> Iterator[str]:
    submissions = [s for s in read_submissions(made.home) if s.code] if made.workers else []
    changes = code_changes(made.home, submissions[-1].code, workdir=made.workdir) if submissions else []
    if changes:
        what = "; ".join(changes)
        yield f"the code in {made.workdir} has changed since the last submission of {made.home.name}: {what}"


def _next_resume(made: Plan, after: str, live_workers: Live) -> int | NotResumed:
    """The number of this resume in a row, or why the collector does not resume."""
    submissions = read_submissions(made.home)
    mine = next((s for s in submissions if s.id == after), None)
    markers, state = made.home.markers(), read_state(made.home)
    ended = how_they_ended(made.home, mine, live_workers.queue, state=state) if mine is not None and not markers else ()
    reason = why_not(submissions, after, sweep=made.sweep, state=state, markers=markers, ended=ended)
    if reason is not None or mine is None:
        return NotResumed(home=made.home, reason=str(reason))
    return mine.resumes + 1


def _carry_out_all(
    plans: Sequence[Plan], requests: Sequence[Request], there: Mapping[str, Live], tell: Tell, *, resumes: int
) -> Result:
    """Carry out the plan of each budget; if one fails, the others are still submitted."""
    failure: HpoBatchError | None = None
    started: list[Plan] = []
    for made, request in zip(plans, requests, strict=True):
        tell(Planned(plan=made))
        predicted, _ = predictions_beside(request.sweep, request.home, request.folder)
        try:
            with contextlib.chdir(made.workdir):  # a sampler of the user's, ./job_templates/collector.toml
                submission = carry_out(
                    made, toml=request.toml, predicted=predicted, environ=os.environ, resumes=resumes
                )
        except HpoBatchError as error:
            if len(plans) == 1:
                raise
            tell(Refused(home=made.home, error=error))
            failure = error
            continue
        started.append(made)
        if submission is not None:
            tell(Submitted(plan=made, submission=submission))
        for fact in _update_tasks(made, there.get(made.home.name)):
            tell(fact)
    return Result(plans=tuple(plans), started=tuple(started), error=failure)


def _update_tasks(made: Plan, live_workers: Live | None) -> Iterator[Fact]:
    """Update pending array tasks."""
    if live_workers is None:
        return
    yield from bring_up_to_date(made, live_workers)
    if made.standing.remaining:
        yield from start_held_back(made, live_workers)
