"""Whether a study on disk is as it should be: its journal, locks, leases, second copies, and the disk it lies on.

Each check gives findings with what to do. Nothing is changed; the check of kernel locks makes a file and removes it.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from hpo_batch.doctor import locks_and_disk
from hpo_batch.doctor.finding import Finding, Level
from hpo_batch.errors import JournalCorrupt, StorageError
from hpo_batch.files import read_regular
from hpo_batch.journal.decode import NONSENSE, decode, why
from hpo_batch.journal.encode import FORMAT
from hpo_batch.journal.state import JournalState
from hpo_batch.journal.trial import ScannedTrial
from hpo_batch.processes import is_dead_here
from hpo_batch.records import Complete, Failed, GivenBack, Pruned, Reason, TrialState
from hpo_batch.store.attempt_archive import GONE, KeptTrial, kept_trials
from hpo_batch.store.footprint import of_study
from hpo_batch.store.frozen import read_frozen
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import strange_lines
from hpo_batch.text.names import listed

JOURNAL_BYTES = 1 << 40
REBUILD = "'hpo-batch doctor STUDY --rebuild' makes it again from the trial folders"


@dataclass(frozen=True, kw_only=True)
class Reading:
    """A journal read line by line, past those that are bad."""

    state: JournalState
    """what the lines before the first bad one make: later ones may mean other trials than they did"""
    lines: int
    bad: tuple[tuple[int, str], ...]
    """number from 1, and what is wrong with it"""
    torn_bytes: int
    """length of a last line without its newline"""
    newer_format: int | None = None


def read_journal(home: StudyHome) -> Reading:
    """The journal as it is, without a lock.

    Raises:
        OSError: it is not there, or cannot be read.
    """
    *lines, torn = read_regular(home.journal, most=JOURNAL_BYTES).split(b"\n")
    state, newer = JournalState(), None
    bad: list[tuple[int, str]] = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            decode(line)  # a scan decodes reports and metrics only when they are asked for
            if not bad:
                state.apply(line + b"\n")
        except JournalCorrupt as error:
            if state.format > FORMAT:
                newer = state.format
                break
            bad.append((number, str(error)))
    return Reading(state=state, lines=len(lines), bad=tuple(bad), torn_bytes=len(torn), newer_format=newer)


def examine(
    home: StudyHome,
    *,
    read_sweep: Callable[[JournalState], object],
    read_table: Callable[[], object] = lambda: None,
) -> Iterator[Finding]:
    """All findings about a study.

    Args:
        read_sweep: reads the frozen sweep that a journal names, or raises StorageError.
        read_table: makes the table that ``collect`` and ``report`` are about, or raises StorageError: what they cannot
            read is not healthy.
    """
    try:
        reading = read_journal(home)
    except FileNotFoundError:
        what = f"'{home.journal}' is gone"
        yield Finding(level=Level.BAD, about="journal", what=what, do=REBUILD, mended_by_rebuild=True)
        reading = None
    except OSError as error:
        what = f"'{home.journal}' cannot be read: {error.strerror}"
        yield Finding(level=Level.BAD, about="journal", what=what, do="see that you may read it and its disk is there")
        reading = None
    to_come = 0
    if reading is not None:
        unread = [] if reading.newer_format is not None or reading.bad else list(_of_table(read_table))
        told = list(_of_journal(reading))
        yield from [one for one in told if not unread or one.level is not Level.FINE]
        yield from unread
        if reading.state.is_ours and reading.newer_format is None and not reading.bad:
            yield from _of_sweep(reading.state, read_sweep)
            yield from _told("trials", _of_trials(home, reading.state))
            to_come = of_study(home, reading.state, read_frozen(home, reading.state.revision)).to_come
    yield from _of_submissions(home)
    yield from _told("locks", locks_and_disk.lock_findings(home))
    yield locks_and_disk.kernel_locks(home)
    yield from _told("workers", locks_and_disk.lease_findings(home))
    yield from locks_and_disk.disk_findings(home.path, to_come=to_come)


def _told(about: str, findings: Iterable[Finding]) -> Iterator[Finding]:
    """The findings, as far as what they are about makes sense."""
    try:
        yield from findings
    except (*NONSENSE, JournalCorrupt) as error:
        what = f"a file or a record makes no sense: {why(error)}"
        yield Finding(level=Level.BAD, about=about, what=what, do=REBUILD, mended_by_rebuild=True)


def _of_table(read_table: Callable[[], object]) -> Iterator[Finding]:
    try:
        read_table()
    except StorageError as error:
        do = f"'collect', 'report' and 'status' cannot read it; {REBUILD}"
        yield Finding(level=Level.BAD, about="journal", what=str(error), do=do, mended_by_rebuild=True)


def _of_submissions(home: StudyHome) -> Iterator[Finding]:
    try:
        strange = strange_lines(home)
    except OSError as error:
        what, do = f"'{home.submissions}' cannot be read: {error.strerror}", "remove it: status then knows no jobs"
        yield Finding(level=Level.BAD, about="submissions", what=what, do=do)
        return
    if strange:
        what = f"{len(strange)} lines of '{home.submissions}' are none of ours (line {strange[0][0]}: {strange[0][1]})"
        yield Finding(level=Level.NOTE, about="submissions", what=what, do="nothing to do: they are left out")


def _of_journal(reading: Reading) -> Iterator[Finding]:
    if reading.newer_format is not None:
        what = f"format {reading.newer_format}; this hpo-batch reads up to {FORMAT}"
        yield Finding(level=Level.BAD, about="journal", what=what, do="upgrade hpo-batch")
        return
    if reading.bad:
        numbers = listed([f"{number}" for number, _ in reading.bad])
        what = f"{len(reading.bad)} of {reading.lines} lines are bad (line {numbers}): {reading.bad[0][1]}"
        yield Finding(level=Level.BAD, about="journal", what=what, do=REBUILD, mended_by_rebuild=True)
    if reading.torn_bytes:
        what = f"the last line is torn ({reading.torn_bytes} bytes): its writer writes just now, or was killed"
        yield Finding(level=Level.NOTE, about="journal", what=what, do="nothing to do: the next writer cuts it off")
    state = reading.state
    if state.study_name is None:
        yield Finding(level=Level.BAD, about="journal", what="no study in it", do=REBUILD, mended_by_rebuild=True)
    elif not state.is_ours:
        yield Finding(level=Level.NOTE, about="journal", what="made by plain Optuna, not by hpo-batch")
    elif not reading.bad:
        what = f"{reading.lines} lines, {len(state.trials)} trials, format {state.format}"
        yield Finding(level=Level.FINE, about="journal", what=what)


def _of_sweep(state: JournalState, read_sweep: Callable[[JournalState], object]) -> Iterator[Finding]:
    if not state.revision:
        what = "the journal names no sweep: whoever made the study was killed in the middle"
        yield Finding(level=Level.NOTE, about="sweep", what=what, do="submit the sweep again")
        return
    try:
        read_sweep(state)
    except StorageError as error:
        do = "copy the file back from a backup; 'doctor STUDY --rebuild' takes the newest one that can be read"
        yield Finding(level=Level.BAD, about="sweep", what=str(error), do=do, mended_by_rebuild=True)
    else:
        yield Finding(level=Level.FINE, about="sweep", what=f"revision {state.revision}, as it was frozen")


def _of_trials(home: StudyHome, state: JournalState) -> Iterator[Finding]:
    """Where journal and folders do not say the same."""
    lacking: list[KeptTrial] = []
    differing, untold, uncopied, unreadable = [], [], [], []
    with_folder = set()
    for kept in kept_trials(home):
        with_folder.add(kept.number)
        if not _is_known(state, kept):
            lacking.append(kept)
            continue
        trial = state.trials[kept.number]
        if _may_be_changing(trial):
            continue
        is_uncopied = trial.state.finished and kept.end is None
        # a folder without claim and result is told as the missing copy that it is
        problems = [problem for problem in kept.problems if not (is_uncopied and problem.endswith(GONE))]
        unreadable += [f"{kept.number} ({problem})" for problem in problems]
        if is_uncopied:
            uncopied.append(kept.number)
        elif not trial.state.finished and trial.state is not TrialState.WAITING and _is_untold(trial, kept):
            untold.append(kept.number)
        elif trial.state.ended and kept.end is not None and not _agree(trial, kept):
            differing.append(kept.number)
    if lacking:  # a claim stands in the journal before its folder is made: were these made since it was read?
        newer = read_journal(home).state
        lacking = [kept for kept in lacking if not _is_known(newer, kept)]
    uncopied += [t.number for t in state.trials if t.state.finished and t.attempt and t.number not in with_folder]
    if lacking:
        what = f"the journal lacks what the folders of trials have: {listed(kept.number for kept in lacking)}"
        yield Finding(level=Level.BAD, about="trials", what=what, do=REBUILD, mended_by_rebuild=True)
    if differing:
        what = f"journal and result.json do not say the same of trials {listed(differing)}"
        do = "look at both; 'doctor STUDY --rebuild' takes what the folders say, and keeps the former journal"
        yield Finding(level=Level.BAD, about="trials", what=what, do=do, mended_by_rebuild=True)
    if untold:
        what = f"dead workers left results that the journal was not told in time: trials {listed(untold)}"
        do = "'doctor STUDY --rebuild' takes them; left alone, they do not count"
        yield Finding(level=Level.NOTE, about="trials", what=what, do=do, mended_by_rebuild=True)
    if uncopied:
        what = f"finished trials without a second copy of their result: {listed(sorted(uncopied))}"
        yield Finding(level=Level.NOTE, about="trials", what=what, do="keep the journal: a rebuild would lose them")
    if unreadable:
        what = f"files that cannot be used: trial {listed(unreadable)}"
        yield Finding(level=Level.NOTE, about="trials", what=what, do="keep the journal: a rebuild would miss them")
    if not (lacking or differing or untold or uncopied or unreadable):
        what = f"the journal and {len(with_folder)} folders of trials say the same"
        yield Finding(level=Level.FINE, about="trials", what=what)


def _is_known(state: JournalState, kept: KeptTrial) -> bool:
    """Whether the journal has the last claim that the folder has."""
    if kept.number >= len(state.trials):
        return False
    if not kept.attempts:
        return True
    trial, last = state.trials[kept.number], kept.attempts[-1]
    token = trial.attempt_facts(last.number).get("token")
    return trial.attempt >= last.number and (last.claim is None or token in (None, last.claim.token))


def _may_be_changing(trial: ScannedTrial) -> bool:
    """Whether somebody may be at work on it: not if it does not run, or its process is proven gone."""
    facts = trial.attempt_facts(trial.attempt)
    return trial.state is TrialState.RUNNING and (not facts or is_dead_here(facts) is not True)


def _is_untold(trial: ScannedTrial, kept: KeptTrial) -> bool:
    """Whether the folder has a result of a trial whose worker was taken for dead, or is."""
    lost = trial.state is TrialState.RUNNING or trial.reason == Reason.LOST
    return lost and kept.end is not None and isinstance(kept.end.ended, Complete | Pruned)


def _agree(trial: ScannedTrial, kept: KeptTrial) -> bool:
    assert kept.end is not None
    match kept.end.ended:
        case Complete(values=values, metrics=metrics):
            finite = {name: value for name, value in metrics.items() if math.isfinite(value)}
            same = all(trial.user_attrs.get(name) == value for name, value in finite.items())
            return trial.state is TrialState.COMPLETE and trial.values == values and same
        case Pruned():
            return trial.state is TrialState.PRUNED
        case Failed():
            return trial.state is TrialState.FAIL
        case GivenBack():  # it was claimed again since, or ended by plain Optuna
            return not trial.state.finished
