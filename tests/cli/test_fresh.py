"""Beginning anew: by an edit while nothing has finished, by ``--fresh``, after ``rm``."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.store.home import home_of
from hpo_batch.study.read import read_state
from tests.cli.conftest import Cli
from tests.cli.test_editing import edited

Write = Callable[..., Path]
EDITS = [
    ('metric = "score"', 'metric = "count"'),
    ('direction = "minimize"', 'direction = "maximize"'),
    ("tests.cli.toys:fails_unless_told", "tests.cli.toys:quadratic"),
    ("n = [1, 2, 3]", "n = [1, 2, 3]\ndepth = [1, 2]"),
    ("n = [1, 2, 3]\n", ""),
    ('function = "tests.cli.toys:fails_unless_told"', "command = \"sh -c 'echo RESULT: score=1'\""),
]


def trash(root: Path) -> list[Path]:
    return sorted((root / ".trash").iterdir()) if (root / ".trash").exists() else []


@pytest.mark.parametrize("edit", EDITS, ids=["metric", "direction", "function", "new parameter", "dropped", "command"])
def test_while_nothing_has_finished_every_edit_is_taken(
    cli: Cli, write_sweep: Write, root: Path, edit: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a newcomer has to mend in the first failing sweep."""
    path = write_sweep("fails_unless_told", trials=3)
    assert cli("submit", path, "--wait").code == 1
    edited(path, *edit)
    monkeypatch.setenv("TOLD", "1")
    assert cli("submit", path, "--dry-run").code == 0
    ended = cli("submit", path, "--wait")
    assert ended.code == 0, ended.err
    assert read_state(home_of(root, "toy")).counts().finished == 3
    if edit[1]:
        assert "no trial of the existing study has finished: it is moved to the trash; starting over" in ended.err
        (old,) = trash(root)
        assert read_state(home_of(root / ".trash", old.name)).counts().failed > 0
    assert cli("list").out.count("toy") == 1  # the trash holds no study


def test_what_is_refused_moves_nothing(cli: Cli, write_sweep: Write, root: Path) -> None:
    """The tests' PATH has an sbatch, and the edited sweep does not say where to run."""
    path = write_sweep("fails_unless_told", trials=3)
    assert cli("submit", path, "--wait").code == 1
    edited(path, 'metric = "score"', 'metric = "twice"')
    edited(path, 'template = "local"\n', "")
    refused = cli("submit", path)
    assert refused.code == 2
    assert "names no [job] template" in refused.err
    assert trash(root) == []
    assert read_state(home_of(root, "toy")).counts().failed > 0


def test_with_a_finished_trial_an_edit_of_what_it_means_is_refused(cli: Cli, write_sweep: Write, root: Path) -> None:
    path = write_sweep(trials=2)
    assert cli("submit", path, "--wait").code == 0
    edited(path, 'direction = "minimize"', 'direction = "maximize"')
    refused = cli("submit", path)
    assert refused.code == 2
    assert "--fresh" in refused.err
    assert "import = " not in refused.err  # a sampler cannot learn from trials of the other direction
    assert cli("submit", path, "--dry-run").code == 2
    assert trash(root) == []
    fresh = cli("submit", path, "--fresh", "--wait")
    assert (fresh.code, "2 trials to finish" in fresh.err, len(trash(root))) == (0, True, 1)
    assert cli("submit", path, "--fresh", "--wait").code == 0
    assert len(trash(root)) == 2


def test_a_study_with_workers_stays(cli: Cli, write_sweep: Write, tmp_path: Path, monkeypatch, root: Path) -> None:
    monkeypatch.setenv("GO", str(tmp_path / "go"))
    path = write_sweep("waits_or_stops", trials=2)
    assert cli("submit", path, "--workers", "1").code == 0
    for argv in (("rm", "toy"), ("submit", path, "--fresh")):
        ended = cli(*argv)
        assert (ended.code, "in the study 'toy'; first run 'hpo-batch cancel toy'" in ended.err) == (2, True)
    assert trash(root) == []
    assert cli("cancel", "toy", "--yes").code == 0  # as it says
    (tmp_path / "go").touch()
    assert cli("rm", "toy").code == 0
    assert (len(trash(root)), home_of(root, "toy").path.exists()) == (1, False)


def test_a_removed_study_can_be_brought_back(cli: Cli, write_sweep: Write, root: Path) -> None:
    path = write_sweep(trials=2)
    assert cli("submit", path, "--wait").code == 0
    before = cli("collect", "toy", "--format", "csv").out
    said = cli("rm", "toy").err
    assert cli("status", "toy").code == 2
    assert cli("rm", "toy").code == 2
    _, _, source, target = said.strip().rpartition("bring it back: ")[2].partition("mv ")[0], *said.split()[-3:]
    Path(source).rename(target)
    assert cli("collect", "toy", "--format", "csv").out == before
