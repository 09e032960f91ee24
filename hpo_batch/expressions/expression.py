"""``Expression`` and ``parse``: an expression that has passed all checks, ready to be evaluated."""

from __future__ import annotations

import ast
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from functools import lru_cache

from hpo_batch.errors import ExpressionError
from hpo_batch.expressions.compiler import Compiler, Run
from hpo_batch.expressions.language import ALLOWED, MAX_DEPTH, MAX_LENGTH
from hpo_batch.expressions.names import unmasked, written
from hpo_batch.expressions.source import Source, quoted
from hpo_batch.records import Value


@dataclass(frozen=True, kw_only=True)
class Expression:
    """An expression that has passed all checks. Made by ``parse``; equal texts are equal expressions."""

    text: str
    names: frozenset[str] = field(compare=False)
    """every name it mentions, functions left out"""
    constants: tuple[str, ...] = field(compare=False, default=())
    """its conditions that name nothing, and so are always true or always false"""
    texts: frozenset[str] = field(compare=False, default=frozenset())
    """every text in quotes in it"""
    _run: Run = field(compare=False, repr=False)

    def evaluate(self, values: Mapping[str, Value]) -> Value:
        """The expression's value.

        Raises:
            ExpressionError: a name has no value, or an operation has no result (division by zero, overflow, mixed
                types).
        """
        result: Value = self._run(values)
        return result

    def truth(self, values: Mapping[str, Value]) -> bool:
        """The value of a condition: true, false, or a number that is nonzero; text is neither."""
        result = self.evaluate(values)
        if isinstance(result, str):
            raise Source(self.text).error(f"its value is the text {quoted(result)}, neither true nor false")
        return bool(result)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        # Closures cannot be pickled; the text can, and it is all there is to an expression.
        return parse, (self.text,)


def why_constant(expression: Expression, known: Collection[str]) -> str:
    """Why an expression, or a condition in it, has the same value for all trials; empty if it does not.

    Nobody means that: a name in quotes is a text (``"'kind' == 'cnn'"``).

    Args:
        expression: any.
        known: the names that it could use.
    """
    if expression.names and not expression.constants:
        return ""
    piece = quoted(expression.constants[0]) if expression.names else "it"
    texts = sorted(expression.texts.intersection(known))
    if texts:
        meant = f"; '{texts[0]}' in quotes is a text, without them ({written(texts[0])}) it is the parameter"
    else:
        meant = f"; there are {', '.join(map(written, sorted(known)[:12]))}" if known else ""
    why = f"{piece} names nothing that has a value, so it is always the same{meant}"
    return f"expression {quoted(expression.text)}: {why}"


@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Check and compile an expression.

    Raises:
        ExpressionError: names the piece that is not allowed, and what is.
    """
    text = unmasked(text).strip()
    if not text:
        raise ExpressionError(f"an expression is empty; {ALLOWED}")
    source = Source(text)
    if len(text) > MAX_LENGTH:
        raise source.error(f"it has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    if _bracket_depth(text) > MAX_DEPTH:
        raise source.error(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # "\d" in a text makes Python's parser warn
            tree = ast.parse(source.masked, mode="eval").body
        compiler = Compiler(source)
        run = compiler.compile(tree)
    except SyntaxError as error:
        raise source.unreadable(error) from None
    except (ValueError, OverflowError) as error:
        raise source.error(f"it cannot be read: {error}") from None
    except (RecursionError, MemoryError):
        raise source.error("it is nested too deeply") from None
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return Expression(
        text=text,
        names=frozenset(compiler.names),
        constants=tuple(dict.fromkeys(compiler.constants)),
        texts=frozenset(texts),
        _run=run,
    )


def _bracket_depth(text: str) -> int:
    """Deepest nesting of brackets, those inside texts counted too."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest
