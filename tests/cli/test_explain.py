"""``explain``: where a trial came from and what happened, and shell lines that really run it again."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

from hpo_batch.monitor.explain import Explanation
from hpo_batch.records import Cause, Complete, Failed, Reason
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from tests.cli.conftest import Cli, lines_by_hand
from tests.helpers import REPOSITORY, run_shell
from tests.study.helpers import claimed, complete, make, owner, revise


def told(cli: Cli, *argv: object) -> dict[str, Any]:
    ended = cli("explain", *argv, "--json")
    assert ended.code == 0, ended.err
    (story,) = json.loads(ended.out)
    return dict(story)


def run_by_hand(cli: Cli, tmp_path: Path, *argv: object) -> str:
    """What the lines print, pasted as they are shown."""
    lines = lines_by_hand(cli, *argv)
    done = run_shell(lines, tmp_path)
    assert done.returncode == 0, (lines, done.stderr)
    return done.stdout


def test_a_function_runs_again_by_hand(cli: Cli, write_sweep, root: Path, tmp_path: Path) -> None:
    assert cli("submit", write_sweep(trials=2), "--wait").code == 0
    story = told(cli, "toy", "1")
    assert story["by_hand"]["lines"][1] == f"cd {REPOSITORY}"
    before = sorted((root / "toy").rglob("*"))
    out = run_by_hand(cli, tmp_path, "toy", "1")
    assert f"trial 1: x = {story['params']['x']}, n = {story['params']['n']}" in out
    (returned,) = re.findall(r"returned \{'score': ([^,]+),", out)
    assert float(returned) == story["values"][0]
    assert sorted((root / "toy").rglob("*")) == before  # nothing of it is in the study


def test_a_command_runs_again_by_hand(cli: Cli, root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = tmp_path / "train it.py"
    script.write_text(
        "import json, os, sys\n"
        "open(os.environ['HPO_BATCH_METRICS_FILE'], 'a').write(json.dumps({'step': 1, 'score': 1.0}) + '\\n')\n"
        "print(sys.argv[1:], os.environ['HPO_BATCH_SEED'], os.environ['OWN'])\n"
        "print('RESULT:', sum(json.loads(os.environ['HPO_BATCH_PARAMS'])[name] for name in ('x', 'y')))\n"
    )
    sweep = tmp_path / "toy.toml"
    sweep.write_text(
        '[study]\nname = "toy"\nmetric = "score"\ndirection = "minimize"\ntrials = 1\n'
        f'[objective]\ncommand = ["python", "{script}", "{{args}}", "--out={{trial_dir}}", "a \'b\' $HOME"]\n'
        'env = { OWN = "it\'s mine" }\n'
        "[space]\nx = { low = 0.0, high = 1.0 }\ny = { low = 0.0, high = 1.0 }\n"
        '[sampler]\nname = "random"\n[job]\ntemplate = "local"\n'
    )
    assert cli("submit", sweep, "--wait").code == 0
    story = told(cli, "toy", "0")
    first = (root / "toy/trials/0000/0000/attempts/1/stdout").read_text().splitlines()
    again = run_by_hand(cli, tmp_path, "toy", "0").splitlines()
    assert again[1] == first[1] == f"RESULT: {story['values'][0]}"
    assert re.sub(r"--out=[^']+/hpo-batch-toy-0\.\w{6}'", "--out=DIR'", again[0]) == first[0].replace(
        str(root / "toy/trials/0000/0000/attempts/1"), "DIR"
    )


def test_where_a_configuration_came_from(cli: Cli, root: Path) -> None:
    rest = (
        '[baseline]\nx = 0.5\n[[trial]]\nname = "A1"\nset = "A"\nnote = "why not"\n'
        'params = { x = 0.25, n = 2, kind = "cnn" }\n'
        '[[trial]]\nname = "A2"\nparams = { x = 0.25, n = 2, kind = "cnn" }\n'
    )
    space = 'x = { low = 0.0, high = 1.0 }\nn = [1, 2, 3]\nkind = { choices = ["cnn", "context"], weights = [3, 1] }'
    home = make(root, study="trials = 8", space=space, sampler='name = "random"\nseed = 7\nextremes = ["n"]', rest=rest)
    finish(home, 8)
    stories = [told(cli, "s", number) for number in range(8)]
    words = [" / ".join(story["came_from"]) for story in stories]
    assert words[0] == "listed in the sweep: [[trial]] 'A1', set A / note: why not"
    by_name = told(cli, "s", "A2")
    assert by_name["repeats"] == 0
    assert "trial 0 has the same configuration: its result was copied" in by_name["came_from"][1]
    assert by_name["happened"] == ["complete, with the values of trial 0"]
    assert stories[0]["repeated_by"] == [by_name["number"]]
    assert any(text.startswith("the [baseline] of the sweep") for text in words)
    assert any("the smallest value of n, the others at the middle" in text for text in words)
    drawn = stories[-1]
    assert drawn["came_from"][0] == "drawn by the sampler 'random' (seed 7)"
    share = {"cnn": "75%", "context": "25%"}[drawn["params"]["kind"]]
    assert f"has a quota of {share}" in drawn["came_from"][1]


def finish(home: StudyHome, count: int) -> None:
    with Study.open(home, owner()) as study:
        while count:
            given = study.claim()
            if not isinstance(given, tuple):
                break
            study.tell(given[0], complete(given[0]))
            count -= 1


def test_what_happened_in_words(cli: Cli, root: Path) -> None:
    home = make(root, tables={"failures": 'exception = "retry"'})
    with Study.open(home, owner(host="n1", worker="7-r0-1", job="7_1", gpus=("2",))) as study:
        claim = claimed(study)
        study.open_attempt(claim)
        study.give_back(claim, Cause.PREEMPTED)
        claim = claimed(study)
        study.open_attempt(claim)
        study.tell(claim, Failed(reason=Reason.EXCEPTION, message="first"))
        claim = claimed(study)
        folder = study.open_attempt(claim)
        (folder / "stderr").write_text("one\ntwo\n10%\r99%\n")
        study.tell(claim, Failed(reason=Reason.NAN, message="the loss is NaN"))
    revise(home, study="trials = 7", tables={"failures": 'exception = "retry"'})
    story = told(cli, "s", "0")
    assert story["happened"] == [
        "attempt 1 on n1: given back: preempted",
        'attempt 2 on n1: failed: exception ([failures] exception = "retry", study.max_attempts = 3)',
        'failed: nan: the loss is NaN ([failures] nan = "fail": not tried again; "retry" would)',
    ]
    assert story["last_lines"] == ["one", "two", "99%"]
    assert (story["revision"], story["current_revision"]) == (1, 2)
    text = cli("explain", "s", "0").out
    assert "(the sweep is at revision 2 now)" in text
    assert re.search(r"3  7_1  n1    2    \S+ \S+  \S+ \S+  failed: nan", text)


def test_trials_that_are_not_there(cli: Cli, root: Path) -> None:
    make(root)
    ended = cli("explain", "s", "3")
    assert (ended.code, "there are no trials yet" in ended.err) == (2, True)


def test_it_tells_what_can_be_told_without_the_frozen_sweep(cli: Cli, root: Path) -> None:
    home = make(root)
    with Study.open(home, owner()) as study:
        claim = claimed(study)
        study.tell(claim, Complete(values=(1.0,), metrics={"loss": 1.0}))
    home.revision(1).unlink()
    story = told(cli, "s", "0")
    assert story["by_hand"] == {"lines": [], "notes": ["the frozen sweep cannot be read, so the command is unknown"]}
    assert story["values"] == [1.0]


def test_the_documented_keys_are_the_real_ones(cli: Cli, root: Path) -> None:
    text = (REPOSITORY / "docs" / "status-json.md").read_text().partition("## explain")[2]
    assert set(Explanation.__struct_fields__) <= set(re.findall(r"`(\w+)`", text))
