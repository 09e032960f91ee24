"""Check a study on disk: its journal, sweep, trials, submissions, locks, leases, and the disk.

Each check is one function in ``CHECKS`` that yields findings with what to do. Nothing is changed, except that the check
of kernel locks creates a file and removes it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Final

from hpo_batch.doctor import locks_and_disk
from hpo_batch.doctor.finding import Finding, Level, bad, fine, note
from hpo_batch.doctor.reading import Reading, StudySubject, read_subject
from hpo_batch.doctor.trials import REBUILD, check_trials
from hpo_batch.errors import JournalCorrupt, StorageError
from hpo_batch.journal.decode import NONSENSE, isolated, why
from hpo_batch.journal.encode import FORMAT
from hpo_batch.sources.study import read_study
from hpo_batch.store.footprint import of_study
from hpo_batch.store.frozen import read_frozen
from hpo_batch.store.home import StudyHome
from hpo_batch.store.submissions import strange_lines
from hpo_batch.study.read import read_revision
from hpo_batch.text.names import listed
from hpo_batch.text.numbers import count


def examine_study(home: StudyHome) -> Iterator[Finding]:
    """All findings about a study, check by check."""
    subject = read_subject(home)
    for about, check in CHECKS.items():
        try:
            yield from check(subject)
        except (*NONSENSE, JournalCorrupt) as error:  # in a file or record that may come from anybody
            what = f"a file or a record makes no sense: {why(error)}"
            yield Finding(level=Level.BAD, about=about, what=what, do=REBUILD, mended_by_rebuild=True)


def check_journal(subject: StudySubject) -> Iterator[Finding]:
    """Whether the journal exists and can be read by the commands that need it."""
    reading, journal = subject.reading, subject.home.journal
    if isinstance(subject.error, FileNotFoundError):
        yield _lost("journal", f"'{journal}' is gone")
    elif subject.error is not None:
        what = f"'{journal}' cannot be read: {subject.error.strerror}"
        yield bad("journal", what, "check that you may read it and that its disk is mounted")
    if reading is None:
        return
    is_told = not reading.is_whole or reading.state.study_name is None  # then the findings about lines are enough
    unreadable = [] if is_told else list(_unreadable_table(subject.home))
    # a journal that `collect` cannot read is not "ok", even if each of its lines is
    yield from (one for one in _lines(reading) if not unreadable or one.level is not Level.FINE)
    yield from unreadable


def _lines(reading: Reading) -> Iterator[Finding]:
    if reading.newer_format is not None:
        what = f"format {reading.newer_format}; this hpo-batch reads up to {FORMAT}"
        yield bad("journal", what, "upgrade hpo-batch")
        return
    if reading.bad:
        numbers = listed([f"{number}" for number, _ in reading.bad])
        yield _lost(
            "journal", f"{len(reading.bad)} of {reading.lines} lines are bad (line {numbers}): {reading.bad[0][1]}"
        )
    if reading.torn_bytes:
        what = f"the last line is torn ({reading.torn_bytes} bytes): its writer is writing right now, or was killed"
        yield note("journal", what, "nothing to do: the next writer cuts it off")
    state = reading.state
    if state.study_name is None:
        yield _lost("journal", "no study in it")
    elif not state.is_ours:
        yield note("journal", "made by plain Optuna, not by hpo-batch")
    elif not reading.bad:
        yield fine(
            "journal", f"{count(reading.lines, 'line')}, {count(len(state.trials), 'trial')}, format {state.format}"
        )


def _unreadable_table(home: StudyHome) -> Iterator[Finding]:
    """Why ``collect`` and ``report`` cannot make their table of a study."""
    try:
        with isolated(home.name):
            read_study(home, reports=True)
    except StorageError as error:
        do = f"'collect', 'report' and 'status' cannot read it; {REBUILD}"
        yield Finding(level=Level.BAD, about="journal", what=str(error), do=do, mended_by_rebuild=True)


def check_sweep(subject: StudySubject) -> Iterator[Finding]:
    """Whether the frozen sweep named by the journal exists and is unchanged."""
    state = subject.state
    if state is None:
        return
    if not state.revision:
        what = "the journal names no sweep: whoever made the study was killed in the middle"
        yield note("sweep", what, "submit the sweep again")
        return
    try:
        read_revision(subject.home, state)
    except StorageError as error:
        do = "restore the file from a backup; 'doctor STUDY --rebuild' takes the newest one that can be read"
        yield Finding(level=Level.BAD, about="sweep", what=str(error), do=do, mended_by_rebuild=True)
    else:
        yield fine("sweep", f"revision {state.revision}, as it was frozen")


def check_submissions(subject: StudySubject) -> Iterator[Finding]:
    """Whether the file of submissions holds only what hpo-batch wrote."""
    home = subject.home
    try:
        strange = strange_lines(home)
    except OSError as error:
        what = f"'{home.submissions}' cannot be read: {error.strerror}"
        yield bad("submissions", what, "remove it: status then knows no jobs")
        return
    if strange:
        number, reason = strange[0]
        what = f"{len(strange)} lines of '{home.submissions}' were not written by hpo-batch (line {number}: {reason})"
        yield note("submissions", what, "nothing to do: they are ignored")


def check_disk(subject: StudySubject) -> Iterator[Finding]:
    """Whether there is room for the files of the remaining trials."""
    state, home, to_come = subject.state, subject.home, 0
    if state is not None:
        to_come = of_study(home, state, read_frozen(home, state.revision)).to_come
    yield from locks_and_disk.disk_findings(home.path, to_come=to_come)


def _lost(about: str, what: str) -> Finding:
    return Finding(level=Level.BAD, about=about, what=what, do=REBUILD, mended_by_rebuild=True)


CHECKS: Final[Mapping[str, Callable[[StudySubject], Iterator[Finding]]]] = {
    "journal": check_journal,
    "sweep": check_sweep,
    "trials": check_trials,
    "submissions": check_submissions,
    "locks": locks_and_disk.check_locks,
    "leases": locks_and_disk.check_leases,
    "disk": check_disk,
}
"""By what they are about, in the order shown. To add a check, write a function and add a line here."""
