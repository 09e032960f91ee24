"""``hpo-batch doctor`` for Python users: find studies by name, and examine them and their site.

>>> subject = find_subject("lr-sweep", root=Path("logs"))
>>> for part in examine(subject):
...     for finding in part.findings:
...         print(finding.level.value, finding.what, finding.do)
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from hpo_batch.doctor.finding import Finding
from hpo_batch.doctor.site import NodeTrial, SiteSubject, Tell, examine_site
from hpo_batch.doctor.study import examine_study
from hpo_batch.errors import StorageError, StudyNotFound, UserError
from hpo_batch.store.home import StudyHome, all_homes, find_homes, find_remains, newest_home
from hpo_batch.study.read import read_revision, read_state
from hpo_batch.sweep.load import load
from hpo_batch.sweep.name import name_in_toml
from hpo_batch.sweep.schema import Job, Sweep


@dataclass(frozen=True, kw_only=True)
class Subject:
    """What is examined."""

    root: Path
    """the logs directory"""
    homes: tuple[StudyHome, ...]
    """studies, including those that have lost their journal; none for a sweep that was never submitted"""
    toml: Path | None = None
    """the sweep's file, if that was given"""


@dataclass(frozen=True, kw_only=True)
class Part:
    """One study, or the site."""

    kind: Literal["study", "site"]
    name: str
    """of the study"""
    path: Path
    findings: Iterator[Finding]
    """made on demand, since a check may take minutes"""


def _ignore(text: str) -> None:
    """Say nothing."""


def find_subject(study: str | None, *, root: Path, tell: Tell = _ignore) -> Subject:
    """Find what to examine: a study by name or directory, or a SWEEP.toml. None means the newest study, if any.

    Raises:
        StudyNotFound: there is no such study, and nothing left of one.
    """
    if study is None:
        if not any(all_homes(root)):
            return Subject(root=root, homes=())
        newest = newest_home(root)
        tell(f"study {newest.name} (the newest in {root})")
        return Subject(root=root, homes=(newest,))
    toml = Path(study) if study.endswith(".toml") else None
    name = study if toml is None else name_in_toml(study)
    without_journal = find_remains(root, name)
    try:
        homes = tuple(sorted((*find_homes(root, name), *without_journal), key=lambda home: home.name))
    except StudyNotFound:
        if not without_journal and toml is None:
            raise
        homes = without_journal
    return Subject(root=root, homes=homes, toml=toml)


def examine(subject: Subject, *, nodes: NodeTrial | None = None, tell: Tell = _ignore) -> Iterator[Part]:
    """Examine each study, then the site. Changes nothing; tests run in a folder that is removed afterwards.

    Args:
        nodes: test two nodes too, with a job of at most five minutes.
        tell: called with what is being waited for or assumed.

    Raises:
        UserError: the sweep has mistakes, or does not run on nodes and ``nodes`` is given.
    """
    sweeps = tuple(load(subject.toml)) if subject.toml is not None else ()
    job = _job(subject, sweeps, tell)
    if nodes is not None and job is not None and job.is_local:
        raise UserError(f"template '{job.template}' runs on this machine: --cluster needs a sweep for SLURM")
    for home in subject.homes:
        yield Part(kind="study", name=home.name, path=home.path, findings=examine_study(home))
    # a sweep's file may have budgets that were never submitted beside those that were
    names = {home.name for home in subject.homes}
    site = SiteSubject(
        root=subject.root,
        job=job,
        homes=subject.homes,
        new_sweeps=tuple(sweep for sweep in sweeps if sweep.path not in names),
        nodes=nodes,
        tell=tell,
    )
    yield Part(kind="site", name="", path=subject.root, findings=examine_site(site))


def _job(subject: Subject, sweeps: tuple[Sweep, ...], tell: Tell) -> Job | None:
    """The sweep's [job]; None if no sweep is known. With several budgets, the first one's."""
    jobs = [sweep.job for sweep in sweeps]
    for home in subject.homes if subject.toml is None else ():
        try:
            jobs.append(read_revision(home, read_state(home)).job)
        except (StorageError, OSError):
            continue  # the study's own findings say what is wrong
    if any(job != jobs[0] for job in jobs):
        tell("note: budgets differ in [job]; SLURM is asked about the first one's")
    return jobs[0] if jobs else None
