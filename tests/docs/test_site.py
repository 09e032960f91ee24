"""The documentation builds without a warning, has every page, and its links hold."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import hpo_batch
from hpo_batch import integrations
from hpo_batch.cli.main import SECTIONS
from hpo_batch.launch.describe import schema_keys
from tests.helpers import REPOSITORY

IGNORED = shutil.ignore_patterns(".*", "__pycache__", "build", "logs")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The built pages; built in a copy, since the build writes pages beside the sources."""
    pytest.importorskip("sphinx")
    copy, out = tmp_path_factory.mktemp("copy"), tmp_path_factory.mktemp("site")
    shutil.copytree(REPOSITORY, copy, ignore=IGNORED, dirs_exist_ok=True)
    build = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-b", "html", str(copy / "docs"), str(out)]
    done = subprocess.run(build, capture_output=True, text=True, check=False, cwd=copy)
    assert (done.returncode, done.stderr) == (0, "")
    return out


def test_every_document_has_a_page(site: Path) -> None:
    for path in (REPOSITORY / "docs").rglob("*.md"):
        assert (site / path.relative_to(REPOSITORY / "docs")).with_suffix(".html").exists(), path


def test_every_command_is_on_the_page_of_commands(site: Path) -> None:
    text = (site / "commands.html").read_text()
    for commands in SECTIONS.values():
        for name in commands:
            assert f'id="{name}"' in text
            assert f"Usage: hpo-batch {name} " in text


def test_every_key_of_a_sweep_is_on_the_page_of_keys(site: Path) -> None:
    text = (site / "sweep-keys.html").read_text()
    keys = [key for key in schema_keys() if key.name]
    assert len(keys) > 60
    for key in keys:
        section = text.split(f'<span class="pre">{key.table}</span></code><a class="headerlink"')[1].split(
            "</section>"
        )[0]
        assert f'<span class="pre">{key.name}</span>' in section, key
        assert key.meaning, key


def test_the_pictures_are_shown(site: Path) -> None:
    for page in ("first-steps.html", "tutorial.html"):
        shown = re.findall(r'<img [^>]*src="([^"]+)"', (site / page).read_text())
        assert {Path(name).name for name in shown} >= {"report.png"}
        assert [name for name in shown if not (site / name).exists()] == []


def test_the_python_reference_has_the_public_names(site: Path) -> None:
    text = (site / "python-reference.html").read_text()
    ids = set(re.findall(r'id="(hpo_batch\.[\w.]+)"', text))
    public = {*hpo_batch.__all__, *integrations.__all__} - {"__version__"}
    homes = {name: {**hpo_batch._HOMES, **integrations._HOMES}[name] for name in public}
    assert len(homes) > 12
    assert {f"{home}.{name}" for name, home in homes.items()} <= ids
    methods = {"Trial.report", "Trial.should_stop", "Trials.take", "Results.findings", "LightningCallback.resume_from"}
    assert {name for name in methods if any(one.endswith(f".{name}") for one in ids)} == methods


def test_links_between_pages_hold(site: Path) -> None:
    ids = {path: set(re.findall(r'id="([^"]+)"', path.read_text())) for path in site.rglob("*.html")}
    broken = []
    for path in ids:
        for link in re.findall(r'href="([^"]+)"', path.read_text()):
            target, _, anchor = unquote(html.unescape(link)).partition("#")
            if target.startswith(("http:", "https:", "mailto:", "data:", "javascript:")):
                continue
            file = (path.parent / target.partition("?")[0]).resolve() if target else path
            if not file.exists() or (anchor and file in ids and anchor not in ids[file]):
                broken.append(f"{path.name}: {link}")
    assert broken == []
