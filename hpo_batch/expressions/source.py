"""The text of an expression, and its errors, which quote the relevant part."""

from __future__ import annotations

import ast
from collections.abc import Iterable
from functools import cached_property

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions.language import ALLOWED, INSTEAD
from hpo_batch.expressions.names import masked, unmasked
from hpo_batch.text.names import did_you_mean, listed


class Source:
    """The text of an expression."""

    def __init__(self, text: str) -> None:
        self.text = text

    @cached_property
    def masked(self) -> str:
        return masked(self.text)

    def error(self, why: str) -> ExpressionError:
        return ExpressionError(f"expression {quoted(self.text)}: {why}")

    def unreadable(self, error: SyntaxError) -> ExpressionError:
        """The error for text that is not valid Python."""
        lines = self.masked.splitlines()
        line, column = error.lineno or 1, error.offset or 1
        rest = lines[line - 1][column - 1 :].strip() if 0 < line <= len(lines) else ""
        where = f" at {quoted(rest)}" if rest and rest != self.masked else ""
        # "x = 1" for "x == 1" is the most common mistake
        is_assignment = rest.startswith("=") or "'=='" in error.msg
        return self.error(f"it cannot be read{where}{': to compare, write ==' if is_assignment else ''}; {ALLOWED}")

    def refused(self, node: ast.expr, why: str = "") -> ExpressionError:
        """The error for a node that is not allowed."""
        why = why or INSTEAD.get(type(node), "")
        return self.error(f"{self._piece(node) or 'this'} is not allowed{': ' if why else ''}{why}; {ALLOWED}")

    def failed(self, node: ast.expr, why: str) -> ExpressionError:
        """The error for a node that cannot be evaluated."""
        piece = self._piece(node)
        return self.error(f"at {piece}: {why}" if piece else why)

    def too_large(self, node: ast.expr) -> ExpressionError:
        return self.failed(node, "an integer does not fit into 64 bits")

    def segment(self, node: ast.expr) -> str:
        """The source text of a node."""
        return unmasked(ast.get_source_segment(self.masked, node) or "")

    def _piece(self, node: ast.expr) -> str:
        """The source text of a node, quoted; empty if it is the whole expression."""
        piece = self.segment(node)
        return quoted(piece) if piece and piece != self.text else ""


def quoted(text: str) -> str:
    """The text in quotes, on one line and shortened."""
    text = unmasked(text)
    return repr(text if len(text) <= 80 else f"{text[:77]}...")


def suggestion(name: str, known: Iterable[str]) -> str:
    """Suggestion for an unknown name."""
    names = [str(k) for k in known]
    return did_you_mean(name, names, otherwise=f"; known are {listed(sorted(names), most=12)}" if names else "")
