"""``hpo-batch ledger`` as typed: what refine predicted, carried by the sweep, kept by its study, and judged."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.errors import Exit
from tests.cli.conftest import Cli

WriteSweep = Callable[..., Path]


@pytest.fixture
def second(cli: Cli, write_sweep: WriteSweep, tmp_path: Path) -> Path:
    """The sweep that follows a study of 24 trials, whose best n is its lowest."""
    path = write_sweep(trials=24)
    path.write_text(path.read_text().replace("n = [1, 2, 3]", "n = { low = 3, high = 6, limits = [0, 9] }"))
    assert cli("submit", path, "--wait").code == Exit.OK
    following = tmp_path / "second.toml"
    made = cli("refine", "toy", "-o", following)
    assert made.code == Exit.OK, made.err
    return following


def told(cli: Cli, *words: object) -> dict[str, object]:
    ended = cli("ledger", *words, "--json")
    assert ended.code == Exit.OK, ended.err
    found: dict[str, object] = json.loads(ended.out)
    return found


def test_predictions_are_kept_judged_and_a_later_change_is_noticed(
    cli: Cli, second: Path, root: Path, tmp_path: Path
) -> None:
    written = second.with_suffix(".decisions.json").read_bytes()
    keys = [one["key"] for one in json.loads(written)["ledger"]]
    assert {"gain", "best", "expand.n"} <= set(keys)
    assert cli("submit", second, "--wait").code == Exit.OK
    kept = root / "toy-v2" / "decisions.json"
    assert kept.read_bytes() == written

    second.with_suffix(".decisions.json").write_text("{}")  # what the study kept is what counts
    shown = cli("ledger")
    assert shown.code == Exit.OK, shown.err
    assert "refine's predictions (from toy)" in shown.out
    assert "the best of the first 24 new trials has n below 3" in shown.out
    assert "nothing was predicted of toy" in shown.err
    found = json.loads(cli("ledger", "toy-v2", "--json").out)
    (study,) = found["studies"]
    scored = {one["prediction"]["key"]: one for one in study["predictions"]}
    assert list(scored) == keys
    assert scored["expand.n"]["came"] is True  # n = 3 was the lowest, and the best is as low as n goes
    assert scored["gain"]["came"] is True
    assert found["summary"]["n"] == len([key for key in keys if key != "best"])

    assert cli("report", "toy-v2", "-o", tmp_path / "report").code == Exit.OK
    report = json.loads((tmp_path / "report" / "report.json").read_text())
    assert report["studies"][0]["ledger"]["predictions"] == study["predictions"]
    assert "Did what was predicted of this sweep come true?" in (tmp_path / "report" / "report.md").read_text()
    collected = cli("collect", "toy-v2", "--top", "3")
    assert "hpo-batch ledger toy-v2" in collected.err

    assert cli("rm", "toy").code == Exit.OK
    gone = cli("ledger", "toy-v2")
    assert "toy, which it was predicted from, is not there any more" in " ".join(gone.out.split())
    kept.write_text(kept.read_text().replace("0.", "0.9", 1))
    edited = cli("ledger", "toy-v2")
    assert edited.code == Exit.OK
    assert "was changed after it was written" in " ".join(edited.out.split())
    kept.unlink()
    assert "is not there" in " ".join(cli("ledger", "toy-v2").out.split())


def test_a_decisions_file_that_was_edited_or_lost_before_submission_is_said(cli: Cli, second: Path) -> None:
    decisions = second.with_suffix(".decisions.json")
    text = decisions.read_text()
    decisions.write_text(text.replace("gain", "loss", 1))
    edited = cli("submit", second, "--dry-run")
    assert edited.code == Exit.OK
    assert "was changed after it was written" in edited.err
    checked = cli("check", second)
    assert checked.code == Exit.OK
    assert "was changed after it was written" in " ".join((checked.out + checked.err).split())
    decisions.unlink()
    lost = cli("submit", second, "--wait", "--set", "study.trials=2")
    assert lost.code == Exit.OK
    assert f"'{decisions}' is not there" in lost.err
    assert "was not beside the sweep at submission" in " ".join(cli("ledger", "toy-v2").out.split())
    decisions.write_text(text)  # it is the file that the sweep names: what it says was said before any trial
    assert cli("submit", second, "--wait", "--set", "study.trials=2").code == Exit.OK
    waits = cli("ledger", "toy-v2")
    assert "cannot be scored yet: the study has 2 of 24 trials" in " ".join(waits.out.split())


def test_two_studies_of_one_sweep_and_one_that_failed(cli: Cli, second: Path) -> None:
    for name in ("a", "b"):
        assert cli("submit", second, "--wait", "--set", f"study.name={name}").code == Exit.OK
    failing = "objective.function=tests.cli.toys:raises_always"
    cli("submit", second, "--wait", "--set", "study.name=c", "--set", failing, "--set", "study.trials=3")
    shown = " ".join(cli("ledger", "a", "b", "c").out.split())
    assert "it has the predictions of 'a' (one sweep, two studies): each counts once" in shown
    assert "failed" in shown
    found = told(cli, "a", "b", "c")
    alone = told(cli, "a")
    assert found["summary"]["n"] == alone["summary"]["n"] > 0  # type: ignore[index]
    assert found["summary"]["repeated"] > 0  # type: ignore[index]


def test_a_ledger_over_nothing_says_so(cli: Cli, write_sweep: WriteSweep, root: Path, tmp_path: Path) -> None:
    nothing = cli("ledger")
    assert nothing.code == Exit.BAD_INPUT
    assert "no studies in" in nothing.err
    assert cli("submit", write_sweep(trials=2), "--wait").code == Exit.OK
    ended = cli("ledger")
    assert ended.code == Exit.OK
    assert ended.out == ""
    assert "nothing was predicted of toy: only sweeps that refine" in ended.err
    assert told(cli)["without"] == ["toy"]
    unknown = cli("ledger", "tyo")
    assert unknown.code == Exit.BAD_INPUT
    assert "toy" in unknown.err
    elsewhere = tmp_path / "elsewhere"
    shutil.copytree(root, elsewhere)
    assert told(cli, elsewhere)["without"] == ["toy"]
    (root / "toy" / "journal.jsonl").write_bytes(b"\x00" * 100)
    assert cli("ledger", "toy").code == Exit.OK  # nothing was predicted: its trials are not read
