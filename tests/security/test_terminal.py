"""A colleague's study tries to steer the terminal of whoever looks at it: clipboard, screen, direction, false lines."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from hpo_batch.cli.terminal import Printing
from hpo_batch.records import Failed, Reason
from hpo_batch.store.home import StudyHome
from hpo_batch.study.study import Study
from hpo_batch.text.lines import harmless, one_line, printable
from tests.cli.conftest import cli as cli  # a fixture
from tests.helpers import run_bytes
from tests.study.helpers import claimed, complete, make, owner

Run = Callable[..., "subprocess.CompletedProcess[bytes]"]

EVIL = (
    "\x1b]52;c;cm0gLXJmIH4=\x07\x1b[2J\x1b[Hpwned\x9b31m\x7f\b\u202etxt.exe\u2066\r\nby hand   (\n          rm -rf ~\n"
)
STEERS = re.compile("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069]|\r(?!\n)")
"""nothing of this may reach a terminal, whatever hpo-batch's own table of it says"""


@pytest.fixture
def planted(root: Path) -> StudyHome:
    """What can be said by whoever may write a study: names of nodes and workers, messages, attributes, output."""
    home = make(root, study="trials = 4", space=f"x = {{ low = 0.0, high = 1.0 }}\nkind = {json.dumps('a' + EVIL)}")
    with Study.open(home, owner(host=f"node{EVIL}", worker=f"7-{EVIL}", job=f"7_1{EVIL}", gpus=(EVIL,))) as study:
        claim = claimed(study)
        folder = study.open_attempt(claim)
        (folder / "stdout").write_bytes(EVIL.encode() + b"\x1b[32mINFO\x1b[0m 10%\r20%\n")
        (folder / "stderr").write_bytes(EVIL.encode())
        study.tell(claim, Failed(reason=Reason.EXCEPTION, message=f"Error: {EVIL}", traceback=EVIL))
        claim = claimed(study)
        study.tell(claim, complete(claim))
        study.open_attempt(claimed(study))  # runs
    (root / f"fake{EVIL.replace('/', '_')}"[:200]).mkdir()
    (root / f"fake{EVIL.replace('/', '_')}"[:200] / "journal.log").write_bytes(b"no journal\n" * 3)
    return home


@pytest.fixture
def run(root: Path, tmp_path: Path) -> Run:
    """The command as a user starts it, and what comes out of it byte by byte."""

    def call(*words: str, **environ: str) -> subprocess.CompletedProcess[bytes]:
        return run_bytes(*words, root=root, cwd=tmp_path, env=environ)

    return call


COMMANDS = [
    ("list",),
    ("status", "s"),
    ("status", "s", "--json"),
    ("status", "s", "--all"),
    ("logs", "s", "0"),
    ("logs", "s", "0", "--worker"),
    ("explain", "s", "0"),
    ("explain", "s", "0", "--json"),
    ("retry", "s", "0", "-n"),
    ("retry", "s", EVIL),
    ("cancel", EVIL, "--yes"),
    ("status", EVIL),
    ("logs", "s", EVIL),
    ("doctor", "s"),
    ("doctor", "s", "--json"),
    ("collect", "s"),
    ("collect", "s", "--format", "csv"),
    ("collect", "s", "--format", "json"),
    ("collect", "s", "--format", "md"),
    ("collect", "s", "--best", "1"),
    ("collect", "s", "--filter", EVIL),
    ("compare", "s", "s"),
    ("check", EVIL),
    ("check", "s.toml", "--set", f"job.account={EVIL}"),
    ("import", EVIL),
    (EVIL,),
    (f"--{EVIL}",),
]


@pytest.mark.usefixtures("few_turns")
@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words).encode("unicode_escape").decode()[:40])
def test_nothing_that_somebody_wrote_steers_the_terminal(planted: StudyHome, cli: Callable[..., object], words) -> None:
    ended = cli(*words)
    for text in (ended.out, ended.err):  # type: ignore[attr-defined]
        assert not STEERS.search(text), (words, STEERS.findall(text), text)
        assert "a bug in hpo-batch" not in text, text
        if words[0] in ("list", "status", "explain", "retry", "doctor"):
            assert not re.search(r"^by hand +\(\n\s+rm", text, re.MULTILINE), text  # nor looks like a line of ours
    if "--json" in words or "json" in words:
        told = json.dumps(json.loads(ended.out), ensure_ascii=False)  # type: ignore[attr-defined]
        assert "\\u001b]52;c;" in told or words[0] == "doctor"  # what programs read is all there


@pytest.mark.parametrize("coding", ["utf-8", "ascii", "latin-1"])
def test_no_encoding_is_a_way_round(planted: StudyHome, run: Run, coding: str) -> None:
    for words in (("list",), ("explain", "s", "0"), ("logs", "s", "0"), ("-vv", "status", "s"), ("doctor", "s")):
        done = run(*words, PYTHONIOENCODING=coding)
        for out in (done.stdout, done.stderr):
            text = out.decode("utf-8" if coding == "ascii" else coding)
            assert not STEERS.search(text), (words, text)


def test_logs_shows_what_was_written_and_raw_what_it_does(planted: StudyHome, run: Run) -> None:
    shown, raw = run("logs", "s", "0").stdout, run("logs", "s", "0", "--raw").stdout
    assert b"\\u001b]52;c;cm0gLXJmIH4=\\u0007" in shown
    assert b"INFO 10%\n20%\n" in shown  # colours and bars, which are in every log, become readable lines
    assert EVIL.encode() in raw
    assert b"\x1b[32mINFO\x1b[0m 10%\r20%\n" in raw


def test_texts_stay_as_they_are_where_nothing_is_in_them() -> None:
    for text in ("größe 學 é\ta\n", "می‌خواهم", "👩‍🔬\n", "a\u00a0b", "x\r\ny"):
        assert harmless(text) == text
    assert one_line("a\nb\tc  d") == "a\\u000ab\\u0009c  d"
    assert printable(" a\nb\tc  d ") == "a b c d"
    assert json.loads(f'"{harmless(chr(0x1B) + chr(0xE0041) + chr(0xD800))}"') == "\x1b\U000e0041\ud800"


def test_every_control_of_unicode_is_spelt() -> None:
    import unicodedata

    for code in range(sys.maxunicode + 1):
        letter = chr(code)
        if unicodedata.category(letter) == "Cc" and letter not in "\n\t":
            assert harmless(f"a{letter}b") != f"a{letter}b", hex(code)
        if unicodedata.bidirectional(letter) in ("LRE", "LRO", "RLE", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI"):
            assert harmless(letter) != letter, hex(code)


def test_the_stream_takes_texts_only(capsys: pytest.CaptureFixture[str]) -> None:
    stream = Printing(sys.stdout)
    with pytest.raises(TypeError):
        stream.write(b"\x1b[2J")  # type: ignore[arg-type]
    stream.writelines(["\x1b[2J", "b\n"])
    assert capsys.readouterr().out == "\\u001b[2Jb\n"
