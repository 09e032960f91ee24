"""``Expression``, a checked and compiled expression, and ``parse``."""

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


@dataclass(frozen=True, kw_only=True)  # no Struct, because of compare=False
class Expression:
    """A checked expression, made by ``parse``. Expressions with the same text are equal."""

    text: str
    names: frozenset[str] = field(compare=False)
    """all names in it, without functions"""
    constants: tuple[str, ...] = field(compare=False, default=())
    """conditions in it without names, which are always true or always false"""
    texts: frozenset[str] = field(compare=False, default=frozenset())
    """all quoted texts in it"""
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
        """The value of a condition. A nonzero number is true; text is an error."""
        result = self.evaluate(values)
        if isinstance(result, str):
            raise Source(self.text).error(f"its value is the text {quoted(result)}, neither true nor false")
        return bool(result)

    def __reduce__(self) -> tuple[Callable[[str], Expression], tuple[str]]:
        # closures cannot be pickled, so unpickling parses the text again
        return parse, (self.text,)


def why_constant(expression: Expression, known: Collection[str]) -> str:
    """Why an expression, or a condition in it, has the same value for all trials; empty if it varies.

    A constant is always a mistake, usually a quoted name: ``"'kind' == 'cnn'"``.

    Args:
        expression: to check.
        known: names that it could use.
    """
    if expression.names and not expression.constants:
        return ""
    piece = quoted(expression.constants[0]) if expression.names else "it"
    texts = sorted(expression.texts.intersection(known))
    if texts:
        meant = f"; '{texts[0]}' in quotes is a text; write {written(texts[0])} without quotes for the parameter"
    else:
        meant = f"; there are {', '.join(map(written, sorted(known)[:12]))}" if known else ""
    why = f"{piece} contains no names, so its value is always the same{meant}"
    return f"expression {quoted(expression.text)}: {why}"


# cached: the same expressions are parsed again for each sweep that is loaded
@lru_cache(maxsize=4096)
def parse(text: str) -> Expression:
    """Check and compile an expression.

    Raises:
        ExpressionError: says which part is not allowed, and what is.
    """
    text = unmasked(text).strip()
    if not text:
        raise ExpressionError(f"an expression is empty; {ALLOWED}")
    source = Source(text)
    if len(text) > MAX_LENGTH:
        raise source.error(f"it has {len(text)} characters; at most {MAX_LENGTH} are allowed")
    # before parsing: ast.parse crashes the interpreter on deep nesting, as its documentation warns
    if _bracket_depth(text) > MAX_DEPTH:
        raise source.error(f"it is nested deeper than {MAX_DEPTH} levels")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # Python's parser warns about "\d" in a string
            tree = ast.parse(source.masked, mode="eval").body
        compiler = Compiler(source)
        run = compiler.compile(tree)
    except SyntaxError as error:
        raise source.unreadable(error) from None
    except (ValueError, OverflowError) as error:
        raise source.error(f"it cannot be read: {error}") from None
    except (RecursionError, MemoryError):
        raise source.error("it is nested too deeply") from None
    # used for the hint about quoted names
    texts = {node.value for node in ast.walk(tree) if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return Expression(
        text=text,
        names=frozenset(compiler.names),
        constants=tuple(dict.fromkeys(compiler.constants)),
        texts=frozenset(texts),
        _run=run,
    )


def _bracket_depth(text: str) -> int:
    """Deepest nesting of brackets, including those in quoted text."""
    depth = deepest = 0
    for character in text:
        depth += (character in "([{") - (character in ")]}")
        deepest = max(deepest, depth)
    return deepest
