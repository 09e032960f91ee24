"""Scripts that do not say what they take, or not in time, or not plainly."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from hpo_batch import processes
from hpo_batch.errors import UserError
from hpo_batch.init.option import Kind, Script
from hpo_batch.init.script import read_script

BEGIN = "import argparse\nparser = argparse.ArgumentParser()\n"


def read(folder: Path, text: str, *, subcommand: str = "", limit_s: float = 60.0) -> Script:
    path = folder / "train.py"
    path.write_text(text)
    return read_script(path, subcommand=subcommand, python="python", limit_s=limit_s)


def refused(folder: Path, text: str, **given: object) -> str:
    with pytest.raises(UserError) as caught:
        read(folder, text, **given)  # type: ignore[arg-type]
    return str(caught.value)


def test_a_script_without_options_is_not_run(folder: Path) -> None:
    message = refused(folder, "open('ran', 'w')\n")
    assert "reads no options that init knows (argparse, click" in message
    assert "hpo-batch init --command" in message
    assert not (folder / "ran").exists()


def test_a_parser_without_options(folder: Path) -> None:
    assert "no options" in refused(folder, f"{BEGIN}parser.parse_args()\n")


def test_what_is_no_script(folder: Path) -> None:
    for path, why in ((folder / "no.py", "no script"), (folder, "cannot be read")):
        with pytest.raises(UserError, match=why):
            read_script(path, subcommand="", python="python")
    assert "train.py:1: not valid Python" in refused(folder, "def (:\n")
    (folder / "train.py").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(UserError, match="not a Python script"):
        read_script(folder / "train.py", subcommand="", python="python")


def test_two_hundred_options_in_a_loop(folder: Path) -> None:
    loop = (
        f"{BEGIN}for i in range(200):\n    parser.add_argument(f'--factor-{{i}}', type=float, default=0.5, help='x')\n"
    )
    shown = loop.replace("ArgumentParser()", "ArgumentParser(formatter_class=argparse.ArgumentDefaultsHelpFormatter)")
    script = read(folder, f"{shown}parser.parse_args()\n")
    assert len(script.options) == 200
    assert {(one.kind, one.default) for one in script.options} == {(Kind.REAL, 0.5)}


CRASH = "import sys\nif '--help' in sys.argv:\n    raise RuntimeError('no help today')\n"
KNOWN = "parser.add_argument('--lr', type=float, default=0.1)\n"
LOOPED = "for name in ('a', 'b'):\n    parser.add_argument('--' + name, type=float)\n"


def test_one_that_crashes_on_help_is_read_as_far_as_its_source_goes(folder: Path) -> None:
    script = read(folder, f"{CRASH}{BEGIN}{KNOWN}{LOOPED}")
    assert [one.flag for one in script.options] == ["--lr"]
    assert "exit code 1: RuntimeError: no help today" in script.notes[0]
    assert "RuntimeError: no help today" in refused(folder, f"{CRASH}{BEGIN}{LOOPED}")


def test_one_that_hangs_is_ended_with_all_that_it_started(folder: Path) -> None:
    hang = (
        "import subprocess, time\nchild = subprocess.Popen(['sleep', '300'])\nopen('pid', 'w').write(str(child.pid))\n"
    )
    started = time.monotonic()
    message = refused(folder, f"{BEGIN}{LOOPED}{hang}time.sleep(300)\n", limit_s=5.0)
    assert "it had not ended after 5 s" in message
    assert time.monotonic() - started < 60
    child = int((folder / "pid").read_text())
    end = time.monotonic() + 30
    while processes.is_alive(child) and time.monotonic() < end:
        time.sleep(0.05)
    assert not processes.is_alive(child)


def test_it_sees_no_gpu_and_has_no_input(folder: Path) -> None:
    ask = "import os, sys\nassert os.environ['CUDA_VISIBLE_DEVICES'] == ''\nassert sys.stdin.read() == ''\n"
    script = read(folder, f"{ask}{BEGIN}{KNOWN}{LOOPED}parser.parse_args()\n")
    assert [one.flag for one in script.options] == ["--lr", "--a", "--b"]


def test_one_that_needs_arguments_still_has_help(folder: Path) -> None:
    text = f"{BEGIN}{KNOWN}{LOOPED}parser.add_argument('data')\nparser.add_argument('--n', type=int, required=True)\n"
    script = read(folder, f"{text}parser.parse_args()\n")
    required = {one.flag: one.is_positional for one in script.options if one.is_required}
    assert required == {"--n": False, "data": True}


def test_options_of_a_module_beside_it(folder: Path) -> None:
    (folder / "options.py").write_text(f"{BEGIN}{KNOWN}")
    script = read(folder, "from options import parser\nprint(parser.parse_args())\n")
    assert [(one.flag, one.kind, one.default) for one in script.options] == [("--lr", Kind.REAL, 0.1)]


SUBCOMMANDS = """
import argparse
parser = argparse.ArgumentParser()
sub = parser.add_subparsers()
for name in ("alpha", "beta"):
    one = sub.add_parser(name)
    one.add_argument("--lr-" + name, type=float, default=0.1)
parser.parse_args()
"""


def test_of_several_subcommands_one_is_named(folder: Path) -> None:
    message = refused(folder, SUBCOMMANDS)
    assert "has the subcommands alpha, beta; name one: hpo-batch init --from" in message
    script = read(folder, SUBCOMMANDS, subcommand="beta")
    assert (script.subcommand, [one.flag for one in script.options]) == ("beta", ["--lr-beta"])


def test_the_one_that_trains_is_taken(folder: Path) -> None:
    script = read(folder, SUBCOMMANDS.replace("alpha", "train"))
    assert (script.subcommand, [one.flag for one in script.options]) == ("train", ["--lr-train"])


FORMS = f"""{BEGIN}
parser.add_argument("--sizes", type=int, nargs="+", default=[1, 2])
parser.add_argument("--verbose", "-v", action="count")
parser.add_argument("--tag", action="append")
parser.add_argument("--wd", type=float, default=None)
parser.add_argument("--flag", type=bool, default=False)
parser.add_argument("--untyped", default=0.1)
parser.add_argument("--level", type=int, choices=range(3), default=1)
parser.add_argument("--warm", action=argparse.BooleanOptionalAction)
parser.add_argument("where", nargs="?")
"""


def test_the_forms_of_argparse(folder: Path) -> None:
    script = read(folder, FORMS)
    assert {one.flag: one.kind.value for one in script.options} == {
        "--sizes": "list",
        "--verbose": "list",
        "--tag": "list",
        "--wd": "real",
        "--flag": "list",
        "--untyped": "text",
        "--level": "integer",
        "--warm": "boolean",
        "where": "text",
    }
    by_flag = {one.flag: one for one in script.options}
    assert by_flag["--level"].choices == (0, 1, 2)
    assert by_flag["--warm"].off == "--no-warm"
    assert not by_flag["where"].is_required
