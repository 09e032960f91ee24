"""Examining studies and their site from Python, without the command line."""

from __future__ import annotations

from pathlib import Path

import pytest

from hpo_batch.doctor import site, study
from hpo_batch.doctor.examine import examine, find_subject
from hpo_batch.doctor.finding import Finding, Level
from hpo_batch.doctor.reading import StudySubject
from hpo_batch.doctor.rebuild import rebuild_study
from hpo_batch.errors import StorageError, StudyNotFound, UserError
from tests.study.helpers import make

SWEEP = """
[study]
name = "s"
metric = "loss"
direction = "minimize"
trials = 3
[objective]
function = "tests.cli.toys:quadratic"
[space]
x = { low = 0.0, high = 1.0 }
[job]
template = "local"
"""


def test_a_study_is_examined_before_its_site_and_nothing_is_printed(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    make(root)
    heard: list[str] = []
    subject = find_subject(None, root=root, tell=heard.append)
    assert heard == [f"study s (the newest in {root})"]
    first, last = examine(subject)
    assert [(part.kind, part.name) for part in (first, last)] == [("study", "s"), ("site", "")]
    assert {one.level for one in first.findings} == {Level.FINE}
    assert "files" in {one.about for one in last.findings}
    assert capsys.readouterr() == ("", "")


def test_a_sweep_that_was_never_submitted_has_a_site_only(root: Path, tmp_path: Path) -> None:
    (path := tmp_path / "s.toml").write_text(SWEEP)
    (part,) = examine(find_subject(str(path), root=root))
    about = [one.about for one in part.findings]
    assert about[:2] == ["disk", "files"]  # whether there is room for its files, then the file system
    with pytest.raises(UserError, match="--cluster needs a sweep for SLURM"):
        next(examine(find_subject(str(path), root=root), nodes=site.NodeTrial()))
    with pytest.raises(StudyNotFound):
        find_subject("nowhere", root=root)


def test_a_check_that_meets_nonsense_stops_no_other(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(subject: StudySubject) -> list[Finding]:
        raise KeyError("what nobody writes")

    monkeypatch.setitem(study.CHECKS, "trials", refuse)  # type: ignore[arg-type]
    findings = list(study.examine_study(make(root)))
    (odd,) = [one for one in findings if one.level is not Level.FINE]
    assert (odd.level, odd.about) == (Level.BAD, "trials")
    assert "a file or a record makes no sense: KeyError" in odd.what
    assert findings[-1].about == "disk"


def test_a_lost_journal_is_rebuilt_and_a_healthy_one_is_not(root: Path) -> None:
    home = make(root)
    heard: list[str] = []
    assert rebuild_study(home, force=False, tell=heard.append).rebuilt is None
    home.journal.unlink()
    outcome = rebuild_study(home, force=False, tell=heard.append)
    assert outcome.rebuilt is not None
    assert heard == [f"'{home.journal}' is gone"]
    assert {one.level for one in study.examine_study(home)} == {Level.FINE}
    home.journal.write_bytes(b'{"op_code":0,"hpo:format":99}\n')
    for sweep in home.path.glob("sweep.*.json"):
        sweep.unlink()
    with pytest.raises(StorageError):
        rebuild_study(home, force=False, tell=heard.append)
