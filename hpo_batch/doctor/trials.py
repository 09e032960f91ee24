"""Check that the journal and the folders of the trials agree: each result is written to both."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from hpo_batch.doctor.finding import Finding, Level, fine, note
from hpo_batch.doctor.reading import StudySubject, read_journal
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.processes import is_dead_here
from hpo_batch.records import Complete, Failed, GivenBack, Pruned, Reason, TrialState
from hpo_batch.store.attempt_archive import GONE, KeptTrial, kept_trials
from hpo_batch.store.home import StudyHome
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count

REBUILD: Final = "'hpo-batch doctor STUDY --rebuild' rebuilds it from the trial folders"


@dataclass(kw_only=True)
class _Comparison:
    """Trials by what is wrong with them."""

    folders: set[int] = field(default_factory=set)
    """numbers of trials with a folder"""
    lacking: list[KeptTrial] = field(default_factory=list)
    """trials whose last claim is missing in the journal"""
    differing: list[int] = field(default_factory=list)
    """numbers of trials that ended differently in the journal and in the folder"""
    unreported: list[int] = field(default_factory=list)
    """numbers of trials whose worker died after writing the result and before recording it in the journal"""
    uncopied: list[int] = field(default_factory=list)
    """numbers of finished trials without a copy of their result"""
    unreadable: list[str] = field(default_factory=list)
    """numbers of trials with unusable files, and why"""


def check_trials(subject: StudySubject) -> Iterator[Finding]:
    """How the journal and the folders differ."""
    if subject.state is None:
        return
    compared = _compare(subject.home, subject.state)
    findings = list(_findings(compared))
    yield from findings
    if not findings:
        yield fine("trials", f"the journal and {count(len(compared.folders), 'folder')} of trials agree")


def _compare(home: StudyHome, state: JournalState) -> _Comparison:
    compared = _Comparison()
    for kept in kept_trials(home):
        compared.folders.add(kept.number)
        if not _is_known(state, kept):
            compared.lacking.append(kept)
        elif not _may_be_changing(state.trials[kept.number]):
            _compare_trial(state.trials[kept.number], kept, compared)
    if (
        compared.lacking
    ):  # a claim is in the journal before its folder exists: these may be newer than the journal as it was read
        newer = read_journal(home).state
        compared.lacking = [kept for kept in compared.lacking if not _is_known(newer, kept)]
    without_folder = (t for t in state.trials if t.state.finished and t.attempt and t.number not in compared.folders)
    compared.uncopied = sorted([*compared.uncopied, *(trial.number for trial in without_folder)])
    return compared


def _compare_trial(trial: ScannedTrial, kept: KeptTrial, compared: _Comparison) -> None:
    is_uncopied = trial.state.finished and kept.end is None
    # a folder without claim and result is reported as a missing copy
    problems = [problem for problem in kept.problems if not (is_uncopied and problem.endswith(GONE))]
    compared.unreadable += [f"{kept.number} ({problem})" for problem in problems]
    if is_uncopied:
        compared.uncopied.append(kept.number)
    elif not trial.state.finished and trial.state is not TrialState.WAITING and _is_unreported(trial, kept):
        compared.unreported.append(kept.number)
    elif trial.state.ended and kept.end is not None and not _agree(trial, kept):
        compared.differing.append(kept.number)


def _findings(compared: _Comparison) -> Iterator[Finding]:
    if compared.lacking:
        what = f"the journal lacks what the folders of trials have: {listed(kept.number for kept in compared.lacking)}"
        yield Finding(level=Level.BAD, about="trials", what=what, do=REBUILD, mended_by_rebuild=True)
    if compared.differing:
        what = f"journal and result.json disagree about trials {listed(compared.differing)}"
        do = "look at both; 'doctor STUDY --rebuild' takes what the folders say, and keeps the former journal"
        yield Finding(level=Level.BAD, about="trials", what=what, do=do, mended_by_rebuild=True)
    if compared.unreported:
        what = f"dead workers left results that never reached the journal: trials {listed(compared.unreported)}"
        do = "'doctor STUDY --rebuild' takes them; otherwise they do not count"
        yield Finding(level=Level.NOTE, about="trials", what=what, do=do, mended_by_rebuild=True)
    if compared.uncopied:
        what = f"finished trials without a second copy of their result: {listed(compared.uncopied)}"
        yield note("trials", what, "keep the journal: a rebuild would lose them")
    if compared.unreadable:
        what = f"files that cannot be used: trial {listed(compared.unreadable)}"
        yield note("trials", what, "keep the journal: a rebuild would miss them")


def _is_known(state: JournalState, kept: KeptTrial) -> bool:
    """Whether the journal has the last claim of the folder."""
    if kept.number >= len(state.trials):
        return False
    if not kept.attempts:
        return True
    trial, last = state.trials[kept.number], kept.attempts[-1]
    token = trial.attempt_facts(last.number).get("token")
    return trial.attempt >= last.number and (last.claim is None or token in (None, last.claim.token))


def _may_be_changing(trial: ScannedTrial) -> bool:
    """Whether a worker may be running the trial."""
    facts = trial.attempt_facts(trial.attempt)
    return trial.state is TrialState.RUNNING and (not facts or is_dead_here(facts) is not True)


def _is_unreported(trial: ScannedTrial, kept: KeptTrial) -> bool:
    """Whether the folder has a result of a trial whose worker is dead, or was considered dead."""
    lost = trial.state is TrialState.RUNNING or trial.reason == Reason.LOST
    return lost and kept.end is not None and isinstance(kept.end.ended, Complete | Pruned)


def _agree(trial: ScannedTrial, kept: KeptTrial) -> bool:
    assert kept.end is not None
    match kept.end.ended:
        case Complete(values=values, metrics=metrics):
            # the journal keeps no metric that is NaN or infinite
            finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
            same = all(trial.user_attrs.get(name) == value for name, value in finite.items())
            return trial.state is TrialState.COMPLETE and trial.values == values and same
        case Pruned():
            return trial.state is TrialState.PRUNED
        case Failed():
            return trial.state is TrialState.FAIL
        case GivenBack():  # it may have been claimed again since, or ended by plain Optuna
            return not trial.state.finished
