"""Where a study is, and how it is found by what a user types."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from hpo_batch.errors import StorageError, StudyNotFound, UserError
from hpo_batch.store.home import all_homes, check_writable, find_homes, find_root, home_of, newest_home


def make_study_folder(root: Path, name: str) -> None:
    home = home_of(root, name)
    home.make()
    home.journal.touch()


def test_all_paths_lie_in_the_studys_folder(root: Path) -> None:
    home = home_of(root, "s/2M")
    assert home.attempt(17, 2) == root / "s/2M/trials/0000/0017/attempts/2"
    assert home.trial(12345) == root / "s/2M/trials/0012/12345"
    paths = [home.journal, home.sweep_toml, home.revision(3), home.submissions, home.workers, home.slurm, home.code]
    assert all(path.is_relative_to(home.path) for path in [*paths, home.marker("DRAIN")])
    assert not home.exists
    assert not home.path.exists()  # to name a study makes nothing


def test_the_logs_directory_is_the_option_then_the_variable_then_the_nearest_upwards(tmp_path: Path) -> None:
    deep = tmp_path / "project" / "src" / "deep"
    deep.mkdir(parents=True)
    assert find_root(None, environ={}, cwd=deep) == deep / "logs"
    (tmp_path / "project" / "logs").mkdir()
    assert find_root(None, environ={}, cwd=deep) == tmp_path / "project" / "logs"
    assert find_root(None, environ={"HPO_BATCH_ROOT": str(tmp_path)}, cwd=deep) == tmp_path
    assert find_root(None, environ={"HPO_BATCH_ROOT": ""}, cwd=deep) == tmp_path / "project" / "logs"
    assert find_root(tmp_path / "x", environ={"HPO_BATCH_ROOT": str(tmp_path)}, cwd=deep) == tmp_path / "x"


def test_studies_are_found_by_name_by_budget_and_by_folder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("one", "many/2M", "many/20M", "other"):
        make_study_folder(root, name)
    (root / "one" / "inner").mkdir()
    (root / "file").touch()
    monkeypatch.chdir(root.parent)
    assert [home.name for home in all_homes(root)] == ["many/20M", "many/2M", "one", "other"]
    assert [home.name for home in find_homes(root, "one")] == ["one"]
    assert [home.name for home in find_homes(root, "many")] == ["many/20M", "many/2M"]
    assert [home.name for home in find_homes(root, "many/2M")] == ["many/2M"]
    for folder in ("logs/many/2M", str(root / "many" / "2M"), "logs/many/2M/"):
        assert [(home.name, home.path) for home in find_homes(root, folder)] == [("many/2M", root / "many" / "2M")]
    assert [home.name for home in find_homes(root, "logs/many")] == ["many/20M", "many/2M"]
    with pytest.raises(StudyNotFound):
        find_homes(root, "logs")  # not "all studies"


def test_a_study_outside_of_the_logs_directory_is_found_by_its_folder(root: Path, tmp_path: Path) -> None:
    make_study_folder(tmp_path / "elsewhere", "moved")
    (home,) = find_homes(root, str(tmp_path / "elsewhere" / "moved"))
    assert (home.name, home.path) == ("moved", tmp_path / "elsewhere" / "moved")


def test_an_unknown_study_is_told_with_what_is_there(root: Path) -> None:
    with pytest.raises(StudyNotFound, match=r"no study 'x' in .*; it has no studies"):
        find_homes(root, "x")
    make_study_folder(root, "patchtst")
    with pytest.raises(StudyNotFound, match=r"did you mean 'patchtst'\?"):
        find_homes(root, "patchts")
    with pytest.raises(StudyNotFound, match="there is patchtst"):
        find_homes(root, "zzz")


def test_the_newest_study_is_the_one_whose_journal_changed_last(root: Path) -> None:
    with pytest.raises(StudyNotFound, match="start one with 'hpo-batch submit SWEEP'"):
        newest_home(root)
    with pytest.raises(StudyNotFound):
        newest_home(root / "missing")
    for i, name in enumerate(("a", "b/1", "c")):
        make_study_folder(root, name)
        os.utime(root / name / "journal.jsonl", (100 - i, 200 - abs(1 - i)))
    assert newest_home(root).name == "b/1"


def test_what_cannot_be_written_is_told_early(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="exists and is not a directory"):
        check_writable(tmp_path / "file" / "logs" / "s")
    with pytest.raises(StorageError, match=r"cannot create the study's directory .*Not a directory"):
        home_of(tmp_path / "file", "s").make()
    check_writable(tmp_path / "new" / "s")
    assert not (tmp_path / "new").exists()


@pytest.mark.skipif(os.getuid() == 0, reason="root may write everywhere")
def test_a_folder_without_permission_is_told(tmp_path: Path) -> None:
    folder = tmp_path / "closed"
    folder.mkdir(mode=0o555)
    with pytest.raises(StorageError, match="no permission to write"):
        check_writable(folder / "s")
    folder.chmod(0o000)
    assert list(all_homes(tmp_path)) == []
    folder.chmod(0o755)
