"""What XGBoost and LightGBM evaluate, under the names with which our callbacks report it. Nothing of the script runs.

Without ``eval_metric`` or ``metric`` the objective decides: https://xgboost.readthedocs.io/en/stable/parameter.html,
https://lightgbm.readthedocs.io/en/stable/Parameters.html#metric
"""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping
from typing import Final

from hpo_batch.init.declared import called

_XGBOOST: Final = {
    "binary:logistic": "logloss",
    "multi:softmax": "mlogloss",
    "multi:softprob": "mlogloss",
    "rank:ndcg": "ndcg",
    "rank:map": "map",
    "reg:absoluteerror": "mae",
    "reg:squaredlogerror": "rmsle",
    "XGBClassifier": "logloss",
}
_LIGHTGBM: Final = {
    "binary": "binary_logloss",
    "multiclass": "multi_logloss",
    "lambdarank": "ndcg",
    "LGBMClassifier": "binary_logloss",
    "LGBMRanker": "ndcg",
}


def evaluated(tree: ast.Module, imported: set[str]) -> Iterator[tuple[str, str]]:
    """The metric of a training that evaluates some data, and the callback that would report it.

    Args:
        tree: of a module.
        imported: packages that it imports.
    """
    calls = [node for node in ast.walk(tree) if isinstance(node, ast.Call)]
    given = _constants(tree) | {called(call): called(call) for call in calls}
    for call in calls:
        words = {k.arg: k.value for k in call.keywords if k.arg}
        if "xgboost" in imported and called(call) in ("train", "fit"):
            evals = words.get("evals", call.args[3] if called(call) == "train" and len(call.args) > 3 else None)
            measure = given.get("eval_metric") or _by_objective(given, _XGBOOST, "rmse")
            if called(call) == "train" and evals is not None:
                yield f"{_name_of(evals, tree) or 'validation'}-{measure}", "XGBoostCallback"
            elif called(call) == "fit" and "eval_set" in words:
                yield f"validation_0-{measure}", "XGBoostCallback"
        elif "lightgbm" in imported and ({"valid_sets", "eval_set"} & words.keys()):
            measure = given.get("metric") or given.get("eval_metric") or _by_objective(given, _LIGHTGBM, "l2")
            names = words.get("valid_names")
            yield f"{(_last_text(names) if names is not None else '') or 'valid_0'}-{measure}", "LightGBMCallback"


def _by_objective(given: Mapping[str, str], known: Mapping[str, str], otherwise: str) -> str:
    objective = given.get("objective", "")
    return known.get(objective) or next((known[name] for name in given if name in known), otherwise)


def _constants(tree: ast.AST) -> dict[str, str]:
    """Texts that a module gives to keys, items and arguments: ``{"objective": "binary:logistic"}``."""
    found: dict[str, str] = {}
    for node in ast.walk(tree):
        match node:
            case ast.Dict(keys=keys, values=values):
                pairs = [(_last_text(key), value) for key, value in zip(keys, values, strict=True) if key is not None]
            case ast.Assign(targets=[ast.Subscript(slice=ast.Constant(value=str(key)))], value=value):
                pairs = [(key, value)]
            case ast.keyword(arg=str(key), value=value):
                pairs = [(key, value)]
            case _:
                pairs = []
        found |= {key: text for key, value in pairs if key and (text := _last_text(value))}
    return found


def _name_of(evals: ast.expr, tree: ast.AST) -> str:
    """The name of the last data in ``[(train, "train"), (test, "test")]``, also if that has a variable."""
    if isinstance(evals, ast.Name):
        name = evals.id
        assigned = [one.value for one in ast.walk(tree) if isinstance(one, ast.Assign) and _assigns(one, name)]
        return _last_text(assigned[-1]) if assigned else ""
    return _last_text(evals)


def _assigns(node: ast.Assign, name: str) -> bool:
    return any(isinstance(target, ast.Name) and target.id == name for target in node.targets)


def _last_text(node: ast.expr) -> str:
    """A text, or the last one in a list."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    parts = node.elts if isinstance(node, ast.List | ast.Tuple) else []
    return next((text for part in reversed(parts) if (text := _last_text(part))), "")
