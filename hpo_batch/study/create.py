"""Create a study from a sweep, or update one after its sweep was edited. Two processes may do so at once."""

from __future__ import annotations

import contextlib
import hashlib
import shlex
from collections import Counter
from pathlib import Path

from msgspec.structs import replace

from hpo_batch.errors import Irreconcilable, StorageError
from hpo_batch.files import write_atomic
from hpo_batch.journal.attributes import ARMED, FORMAT_MARK, IMPORTED, METRICS, REVISION
from hpo_batch.journal.encode import DIRECTIONS, FORMAT, Record, Writer
from hpo_batch.journal.file import Journal
from hpo_batch.journal.state import JournalState
from hpo_batch.space.space import Space
from hpo_batch.store import sharing
from hpo_batch.store.attempt_archive import kept_trials
from hpo_batch.store.home import StudyHome
from hpo_batch.store.predictions import keep
from hpo_batch.study.imported import attribute, encoded, gather, is_frozen
from hpo_batch.study.read import read_revision
from hpo_batch.study.translate import target_with_history, translate_trial
from hpo_batch.sweep.difference import Change, difference
from hpo_batch.sweep.samplers import SAMPLERS
from hpo_batch.sweep.schema import Sweep
from hpo_batch.text.secrets import assigns_secret, looks_secret, masked_words


def create(home: StudyHome, sweep: Sweep, *, toml: str, now: float, predicted: bytes | None = None) -> Change:
    """Create the study, or a new revision of it if the sweep changed. Failures before this call stop counting.

    Args:
        toml: text of the sweep's file.
        now: seconds since the epoch.
        predicted: the decisions file that came with the sweep; kept as it is, and never replaced.

    Raises:
        Irreconcilable: a study of this name exists, and its trials do not fit the sweep.
        UserError: a study of ``[study] import`` is missing or does not fit, or sampler or pruner reject their options.
        StorageError: the directory cannot be written, or the journal in it is not ours.
    """
    _check_classes(sweep)
    is_new = not home.exists
    if is_new:
        gather(home, sweep)  # report a bad import before the directory exists
    if sweep.study.shared and is_new:
        sharing.make(home)
    else:
        home.make()
    with sharing.umask_for(shared=sweep.study.shared):
        if predicted is not None:
            keep(home, predicted)
        change = _record(home, sweep, toml=toml, now=now)
    if sweep.study.shared and not is_new:
        sharing.make(home)  # an existing study becomes shared only once its new sweep is accepted
    return change


def _check_classes(sweep: Sweep) -> None:
    """Construct sampler and pruner once, so that ``submit`` reports bad options instead of the first worker.

    Raises:
        UserError: one of them rejects its options.
    """
    if sweep.sampler.name in SAMPLERS and not sweep.sampler.options and sweep.pruner.name == "none":
        return
    from hpo_batch.study.pruners import (
        make_pruner,
    )  # imported here: Optuna is slow to import, and readers do not need it
    from hpo_batch.study.samplers import check_sampler

    check_sampler(sweep)
    make_pruner(sweep.pruner)


def _record(home: StudyHome, sweep: Sweep, *, toml: str, now: float) -> Change:
    writer = Writer("submit")
    with Journal(home.journal).transaction() as transaction:
        state = JournalState(reports=False, metrics=False)
        state.apply(transaction.new)
        change = what_changes(home, sweep, state)
        if change.against:
            raise Irreconcilable(_explain(home, change))
        records = []
        target = target_with_history(sweep, state)
        if state.study_name is None:
            records.append(writer.create_study(home.name, sweep.study.direction))
        if change.created:
            records += meaning(writer, sweep)
        if change.created or change.lines:
            number = state.revision + 1
            if not is_frozen(state, sweep):
                path = home.path / f"imported.{number}.jsonl"
                content = encoded(gather(home, sweep).trials)
                _write(path, content)
                records.append(writer.study_attr(IMPORTED, attribute(sweep, file=path.name, content=content)))
            text = sweep.to_json()
            # the file before the record: the journal must never name a revision that is not complete on disk
            mode = mode_of(sweep)
            _write(home.revision(number), text, mode=mode)
            _write(home.sweep_toml, toml, mode=mode)
            records.append(revision(writer, number=number, content=text.encode(), wanted=target))
        elif target != state.target:  # a rebuild counts the target without the sweep's history
            facts = {**state.attrs[REVISION], "target": target}
            records.append(writer.study_attr(REVISION, facts))
        records.append(writer.study_attr(ARMED, now))
        transaction.append(records, sync=True)
    return change


def meaning(writer: Writer, sweep: Sweep) -> list[Record]:
    """Records of what the values of a study's trials mean; the same in all revisions."""
    records = [
        writer.study_attr(FORMAT_MARK, FORMAT),
        writer.study_attr(METRICS, list(sweep.study.metric)),
    ]
    if len(sweep.study.metric) > 1:
        # what Study.set_metric_names writes; with one metric it would rename the column "value" of trials_dataframe():
        # https://optuna.readthedocs.io/en/stable/reference/generated/optuna.study.Study.html
        records.append(writer.study_attr("study:metric_names", list(sweep.study.metric)))
    return records


def revision(writer: Writer, *, number: int, content: bytes, wanted: int) -> Record:
    """The record that names the current frozen sweep.

    Args:
        content: bytes of the frozen sweep's file.
        wanted: the target, in finished trials.
    """
    facts = {"number": number, "digest": hashlib.sha256(content).hexdigest(), "target": wanted}
    return writer.study_attr(REVISION, facts)


def what_changes(home: StudyHome, sweep: Sweep, state: JournalState) -> Change:
    """What ``create`` would change, without changing it.

    Raises:
        StorageError: the journal is lost, or hpo-batch did not create it.
    """
    if state.study_name is None:
        if next(kept_trials(home), None) is not None:
            # a new study would start at number 0 and write into the folders of the old trials
            raise StorageError(
                f"'{home.path}' has trials, but its journal is lost: 'hpo-batch doctor {home.name} --rebuild' rebuilds "
                f"it from their folders; to start over, give the sweep another [study] name or move the directory"
            )
        return Change(created=True)
    if state.revision:
        had = {name for trial in state.trials for name in trial.params}
        change = difference(read_revision(home, state), sweep, has_trials=bool(state.trials), had=had)
        edited = any(line.startswith("space.") for line in change.lines) and not change.against
        return replace(change, stays=_stays(sweep.space, state)) if edited and state.trials else change
    if not state.is_ours:
        raise StorageError(
            f"'{home.journal}' is a journal of plain Optuna, not of hpo-batch; choose another [study] name"
        )
    if state.directions != tuple(DIRECTIONS[direction] for direction in sweep.study.direction):
        raise StorageError(
            f"'{home.path}' was left incomplete by a submission with another direction; remove it and submit again"
        )
    return Change(created=True)  # its creator was killed before it had a sweep, so nothing can have run


def _stays(space: Space, state: JournalState) -> str:
    """Which trials lie in the edited space, in words."""
    against = {trial.number: why for trial in state.trials if isinstance(why := translate_trial(space, trial), str)}
    if not against:
        n = len(state.trials)
        return "the trial lies in the space now" if n == 1 else f"all {n} trials lie in the space now"
    numbers = ", ".join(map(str, list(against)[:10])) + (", ..." if len(against) > 10 else "")
    reason = Counter(against.values()).most_common(1)[0][0]
    return (
        f"{len(state.trials) - len(against)} of {len(state.trials)} trials lie in the space now. The others stay in "
        f"the table and count, but the sampler does not see them: {numbers} (most often: {reason})"
    )


def mode_of(sweep: Sweep) -> int:
    """File mode of the frozen copies: private if ``[objective] env`` or ``[job] setup`` seems to hold a secret.

    In a shared study the group needs to read them; the umask keeps out everybody else.
    """
    env, setup = sweep.objective.env, "\n".join(sweep.job.setup)
    is_secret = any(looks_secret(name, value) for name, value in env.items()) or assigns_secret(setup)
    command = sweep.objective.command or ()
    with contextlib.suppress(ValueError):  # quotes that do not close
        words = tuple(shlex.split(command)) if isinstance(command, str) else tuple(command)
        is_secret = is_secret or masked_words(words) != words
    return 0o600 if is_secret and not sweep.study.shared else 0o666


def _write(path: Path, text: str | bytes, *, mode: int = 0o666) -> None:
    try:
        write_atomic(path, text, mode=mode)
    except OSError as error:
        raise StorageError.because(f"cannot write '{path}'", error) from error


def _explain(home: StudyHome, change: Change) -> str:
    reasons = "; ".join(change.against)
    learns = ""
    if not any(reason.startswith(("study.metric", "study.direction")) for reason in change.against):
        learns = f'; with import = ["{home.name}"] in [study] its sampler learns from the trials there'
    return (
        f"the study '{home.name}' exists in {home.path}, and its trials do not fit this sweep: {reasons}. "
        f"Give the sweep another [study] name{learns}. Or replace that study: 'hpo-batch submit SWEEP --fresh'"
    )
