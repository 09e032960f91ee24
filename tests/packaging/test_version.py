"""The version comes from git's tags, and a copy without them or without git can be built too."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import pytest
import yaml

import hpo_batch
from tests.helpers import REPOSITORY

FALLBACK = "0.1.dev0"


def git(folder: Path, *words: str) -> None:
    who = ["-c", "user.name=a", "-c", "user.email=a@example.org", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *who, *words], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """Two commits of what the build reads, without a tag."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        shutil.copy(REPOSITORY / name, folder)
    git(folder, "init", "-q")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "one")
    git(folder, "commit", "-qm", "two", "--allow-empty")
    return folder


def version(folder: Path, **environ: str) -> str:
    """What the build backend makes of the folder; ``hatchling version`` is what a wheel's name has."""
    argv = [sys.executable, "-m", "hatchling", "version"]
    env = {**os.environ, **environ}
    return subprocess.run(argv, cwd=folder, env=env, check=True, capture_output=True, text=True).stdout.strip()


def test_before_the_first_tag_commits_are_counted(checkout: Path) -> None:
    assert re.fullmatch(r"0\.1\.dev2\+g[0-9a-f]+", version(checkout))


def test_a_tag_is_the_version_and_later_commits_lead_to_the_next(checkout: Path) -> None:
    git(checkout, "tag", "v0.2.0")
    assert version(checkout) == "0.2.0"
    git(checkout, "commit", "-qm", "three", "--allow-empty")
    assert re.fullmatch(r"0\.2\.1\.dev1\+g[0-9a-f]+", version(checkout))


def test_a_shallow_clone_can_be_built(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "tag", "v0.2.0", "HEAD~1")
    git(tmp_path, "clone", "-q", "--depth", "1", "--no-tags", f"file://{checkout}", "shallow")
    assert re.fullmatch(r"0\.1\.dev1\+g[0-9a-f]+", version(tmp_path / "shallow"))


def test_a_copy_without_git_has_the_fallback(checkout: Path) -> None:
    no_git = checkout.parent / "bin"
    no_git.mkdir()
    assert version(checkout, PATH=str(no_git)) == FALLBACK  # a checkout on a machine without git
    shutil.rmtree(checkout / ".git")
    assert version(checkout) == FALLBACK


def test_a_copy_inside_another_repository_does_not_take_its_tags(checkout: Path, tmp_path: Path) -> None:
    shutil.rmtree(checkout / ".git")
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "theirs", "--allow-empty")
    git(tmp_path, "tag", "v9.9.9")
    assert version(checkout) == FALLBACK


def test_a_source_distribution_knows_its_version_and_shows_pictures(checkout: Path, tmp_path: Path) -> None:
    git(checkout, "tag", "v0.2.0")
    argv = [sys.executable, "-m", "hatchling", "build", "-t", "sdist", "-d", str(tmp_path)]
    env = {**os.environ, "HPO_BATCH_REPOSITORY": "https://example.org/raw/v0.2.0/"}
    subprocess.run(argv, cwd=checkout, env=env, check=True, capture_output=True)
    with tarfile.open(tmp_path / "hpo_batch-0.2.0.tar.gz") as file:
        file.extractall(tmp_path, filter="data")
    assert version(tmp_path / "hpo_batch-0.2.0") == "0.2.0"
    shown = (tmp_path / "hpo_batch-0.2.0" / "PKG-INFO").read_text()
    assert "](https://example.org/raw/v0.2.0/docs/pictures/report.png)" in shown
    targets = re.findall(r"\]\(([^)]+)\)", shown)
    assert len(targets) > 20
    assert [target for target in targets if not target.startswith(("https://", "#"))] == []


def test_without_an_address_the_readme_stands_as_it_is(checkout: Path) -> None:
    argv = [sys.executable, "-m", "hatchling", "metadata"]
    env = {name: value for name, value in os.environ.items() if name != "HPO_BATCH_REPOSITORY"}
    said = subprocess.run(argv, cwd=checkout, env=env, check=True, capture_output=True, text=True).stdout
    assert json.loads(said)["readme"]["text"] == (REPOSITORY / "README.md").read_text()


def test_the_package_tells_the_version_it_was_installed_with() -> None:
    from importlib.metadata import version as installed

    assert hpo_batch.__version__ == installed("hpo-batch")


def test_sources_that_are_not_installed_say_so(tmp_path: Path) -> None:
    (tmp_path / "hpo_batch").symlink_to(REPOSITORY / "hpo_batch")
    argv = [sys.executable, "-S", "-c", "import hpo_batch; print(hpo_batch.__version__)"]
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run(argv, cwd=tmp_path, env=env, check=True, capture_output=True, text=True)
    assert done.stdout == "0+unknown\n"


def test_the_citation_says_what_the_package_says() -> None:
    """Whether it is valid tells cffconvert, by hand (CONTRIBUTING.md): it needs packages of years ago."""
    citation = yaml.safe_load((REPOSITORY / "CITATION.cff").read_text())
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    assert {"message", "title", "authors"} <= set(citation)  # required by the format
    assert (citation["title"], citation["license"]) == (project["name"], project["license"])
    assert "version" not in citation  # which would have to be changed with each tag
