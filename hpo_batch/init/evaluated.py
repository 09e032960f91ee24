"""What the library evaluate computes in a script: ``metric.compute()``, a mapping of numbers. Nothing of it runs.

https://huggingface.co/docs/evaluate/a_quick_tour
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final

from hpo_batch.init.declared import called

# the number to judge by, of metrics that compute several or call theirs otherwise
_KEYS: Final[Mapping[str, str]] = {
    "glue": "accuracy",
    "super_glue": "accuracy",
    "seqeval": "overall_f1",
    "squad": "f1",
    "squad_v2": "f1",
    "rouge": "rougeL",
    "sacrebleu": "score",
    "ter": "score",
    "chrf": "score",
    "perplexity": "mean_perplexity",
}
_PLAIN: Final = ("wer", "cer")
"""those that compute a number"""


def computed(tree: ast.Module) -> tuple[str, frozenset[str]]:
    """The number that metrics of evaluate compute, and the variables that hold all of what one has computed.

    Empty if the script uses none of them.
    """
    names = [name for name in _loaded(tree) if name not in _PLAIN]
    if not names:
        return "", frozenset()
    name = next((one for one in reversed(names) if one not in _KEYS), names[-1])
    variables = {
        ast.unparse(target)
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Call) and called(node.value) == "compute"
        for target in node.targets
    }
    return _KEYS.get(name, name), frozenset(variables)


def _loaded(tree: ast.Module) -> Iterator[str]:
    """Names of metrics that a script loads, in its order."""
    for node in ast.walk(tree):
        match node:
            case ast.Call(args=[ast.Constant(value=str(name)), *_]) if _loads(node.func):
                yield name


def _loads(function: ast.expr) -> bool:
    return ast.unparse(function) in ("evaluate.load", "load_metric", "datasets.load_metric")
