"""Text of others as one line, or as lines, that a terminal and a shell only show."""

from __future__ import annotations

import subprocess

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hpo_batch.text.lines import JOINER, harmless, one_line, printable, shell_word, short

STEERING = "\x1b[31m\x07\u202e\u2066\ufeff\x9b"


def test_printable_is_one_line_with_single_blanks() -> None:
    assert printable("a\n\tb   c") == "a b c"
    assert printable("\x1b[31mred") == "\\u001b[31mred"
    assert printable(3.5) == "3.5"


def test_one_line_keeps_blanks_and_spells_out_line_ends() -> None:
    assert one_line("a  b") == "a  b"
    assert one_line("a\nb\u2028c") == "a\\u000ab\\u2028c"
    assert one_line("\U000e0001") == "\\udb40\\udc01"
    assert one_line(f"a{JOINER}b") == f"a{JOINER}b"


def test_harmless_keeps_lines_and_spells_out_what_steers() -> None:
    assert harmless("a\n\tb\r\nc") == "a\n\tb\r\nc"
    assert harmless("a\rb") == "a\\u000db"
    shown = harmless(STEERING)
    assert all(character not in shown for character in STEERING if not character.isprintable())


@given(st.text())
def test_nothing_that_is_shown_steers_a_terminal(text: str) -> None:
    assert one_line(text).replace(JOINER, "").isprintable()
    assert printable(text).replace(JOINER, "").isprintable()
    assert "\x1b" not in harmless(text)


@pytest.mark.parametrize("most", [4, 7, 10])
def test_short_leaves_out_the_middle(most: int) -> None:
    assert short("abcdefghij", most)[0] == "a"
    assert len(short("abcdefghij", most)) == min(most, 10)
    assert short("abcdefghij", most).endswith("j")


@pytest.mark.parametrize("text", ["plain", "a b", "it's", "$HOME `x`", "new\nline", "\x1b[31m", "ä\u202eö", "\\n", ""])
def test_a_word_for_the_shell_is_one_argument_again(text: str) -> None:
    word = shell_word(text)
    assert word.isprintable()
    ended = subprocess.run(
        ["bash", "-c", f"printf %s {word}"], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    assert ended.stdout.decode() == text
