"""Integers in the words of SLURM, of a site's programs and of variables that a wrapper may have set."""

from __future__ import annotations

from typing import Final

MOST_DIGITS: Final = 18
"""64 bits hold them; Python's ``int`` refuses texts of more than 4,300 digits"""


def is_integer(text: str) -> bool:
    """Whether a text is a number without a sign that is not longer than any that means something."""
    return text.isdecimal() and len(text) <= MOST_DIGITS
