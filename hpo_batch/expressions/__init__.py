"""A small, safe expression language: conditions, derived values, constraints, computed metrics, filters, expectations.

The text comes from files of strangers, so it never reaches ``eval``: ``parse`` reads it with Python's ``ast``, refuses
every node that is not listed, and compiles the rest once into closures. Evaluation takes bounded time and memory: at
most 500 characters, integers of 64 bits, text that can be compared but not built, lists only to the right of ``in``.

Names may have dots, as Hydra's have: ``model.encoder.kind == 'cnn'``. Other names that are no Python identifiers stand
in backticks, as in pandas' ``query``: ```batch-size` > 32``.
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
