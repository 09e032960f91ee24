"""A small, safe expression language for conditions, derived values, constraints, metrics, filters and expectations.

Expressions may come from untrusted files, so ``eval`` is never used: ``parse`` reads the text with Python's ``ast``,
refuses every node that is not listed, and compiles the rest into closures. Evaluation takes bounded time and memory: at
most 500 characters, 64-bit integers, text can only be compared, and lists occur only to the right of ``in``.

Names may have dots, as in Hydra: ``model.encoder.kind == 'cnn'``. Other names that are not Python identifiers are
written in backticks, as in ``pandas.DataFrame.query``: ```batch-size` > 32``.
"""

from hpo_batch.expressions.expression import Expression, parse, why_constant
from hpo_batch.expressions.language import MAX_DEPTH, MAX_LENGTH
from hpo_batch.expressions.names import dotted_name, masked, unmasked, written

__all__ = [
    "MAX_DEPTH",
    "MAX_LENGTH",
    "Expression",
    "dotted_name",
    "masked",
    "parse",
    "unmasked",
    "why_constant",
    "written",
]
