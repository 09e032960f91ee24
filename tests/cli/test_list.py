"""``hpo-batch list --tree``, and the same line in a report: the story from the first study to today."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

from hpo_batch.errors import Exit
from tests.cli.conftest import Cli
from tests.helpers import REPOSITORY

WriteSweep = Callable[..., Path]


def test_the_line_from_a_search_over_its_refinement_to_its_confirmation(
    cli: Cli, write_sweep: WriteSweep, tmp_path: Path
) -> None:
    path = write_sweep(trials=24)
    path.write_text(path.read_text().replace("n = [1, 2, 3]", "n = { low = 3, high = 6, limits = [0, 9] }"))
    assert cli("submit", path, "--wait").code == Exit.OK
    second, third = tmp_path / "second.toml", tmp_path / "third.toml"
    assert cli("refine", "toy", "-o", second).code == Exit.OK
    assert cli("submit", second, "--wait").code == Exit.OK
    assert cli("confirm", "toy-v2", "--top", "2", "--seeds", "2", "-o", third).code == Exit.OK
    assert cli("submit", third, "--wait").code == Exit.OK

    shown = cli("list", "--tree")
    assert shown.code == Exit.OK, shown.err
    lines = shown.out.splitlines()
    assert [line.split()[0] for line in lines if not line.startswith("    " * 2) and "trials" in line] == [
        "toy", "toy-v2", "toy-v2-confirm",
    ]  # fmt: skip
    assert lines[0].startswith("toy ")
    (refined,) = [line for line in lines if line.startswith("  toy-v2 ")]
    assert "by refine" in refined
    assert "best " in refined
    assert any(line.strip().startswith("n: 3 to 6 -> ") for line in lines)
    (confirmed,) = [line for line in lines if line.startswith("    toy-v2-confirm ")]
    assert "by confirm  2 trials" in confirmed
    assert "2 configurations from a list, each with 2 seeds; no search" in shown.out

    assert cli("report", "toy-v2-confirm", "-o", tmp_path / "report").code == Exit.OK
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    told = report["studies"][0]["lineage"]
    assert [one["study"] for one in told] == ["toy", "toy-v2", "toy-v2-confirm"]
    assert [one["by"] for one in told] == [None, "refine", "confirm"]
    assert told[0]["finished"] == 24
    assert all(one["hours"] > 0 for one in told)
    assert str(tmp_path) not in json.dumps(told)
    page = (tmp_path / "report" / "report.md").read_text()
    assert len([line for line in page.splitlines() if "Comes from" in line]) == 1
    assert "## Where the study comes from" in page

    shutil.rmtree(tmp_path / "logs" / "toy")
    shown = cli("list", "--tree")
    assert shown.code == Exit.OK
    assert "not in this logs directory: 'toy'" in shown.out
    assert cli("report", "toy-v2", "-o", tmp_path / "again").code == Exit.OK
    assert "Comes from: a study that cannot be found" in (tmp_path / "again" / "report.md").read_text()


def test_studies_that_continue_none_are_listed_flat_and_an_unreadable_one_does_not_hide_them(
    cli: Cli, write_sweep: WriteSweep, tmp_path: Path
) -> None:
    assert cli("list", "--tree").out == ""
    for name in ("one", "two"):
        assert cli("submit", write_sweep(name=name, trials=2), "--wait").code == Exit.OK
    shown = cli("list", "--tree")
    assert [line.split()[0] for line in shown.out.splitlines()] == ["one", "two"]
    (tmp_path / "logs" / "one" / "journal.jsonl").write_text("nonsense\n" * 3)
    shown = cli("list", "--tree")
    assert shown.code == Exit.STORAGE
    assert "unreadable: " in shown.out
    assert "two" in shown.out


def test_the_list_as_json_says_what_the_lines_say(cli: Cli, write_sweep: WriteSweep, root: Path) -> None:
    assert cli("submit", write_sweep(trials=4), "--wait").code == Exit.OK
    shutil.copytree(root / "toy", root / "broken")
    (root / "broken" / "journal.jsonl").write_text("nonsense\n")
    listed = cli("list", "--json")
    assert listed.code == Exit.STORAGE
    broken, toy = json.loads(listed.out)
    assert (toy["study"], toy["trials"]["finished"], toy["unreadable"]) == ("toy", 4, None)
    assert f"best {toy['best']['value']:.6g}" in cli("list").out
    assert set(broken) == {"schema_version", "study", "path", "unreadable"}
    text = (REPOSITORY / "docs" / "status-json.md").read_text().partition("## list")[2]
    lines = cli("list", "--tree", "--json")
    assert lines.code == Exit.STORAGE
    for keys in (toy, *json.loads(lines.out)):
        assert [key for key in keys if f"`{key}`" not in text] == []
