"""Guesses the metric of a script from what it reports or prints. Nothing of the script runs."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Final

from hpo_batch.init.boosting import evaluated
from hpo_batch.init.declared import arguments, called
from hpo_batch.init.evaluated import computed
from hpo_batch.init.labels import printed_labels
from hpo_batch.init.place import Place, place_of
from hpo_batch.init.printed import is_seen, shown
from hpo_batch.init.sure import is_option, is_result, is_used
from hpo_batch.text.metric_names import MEASURES, SPLITS, direction_of, tokens

_RESULT = re.compile(r"RESULT:\s*([A-Za-z_][\w./-]*)\s*=")
_BARE = re.compile(r"RESULT:\s*\{([A-Za-z_][\w.]*)")
_LABEL = re.compile(r"([A-Za-z_][\w/.@-]{0,60}(?: [A-Za-z_]\w{0,60})?)[\s\"']{0,4}[:=]?\s{0,8}$")
_LONGEST: Final = 40
"""characters of an expression that is told to be reported"""
_FROM_VALIDATION: Final = frozenset({"val", "valid", "validation", "eval", "dev", "holdout"})
_SUMS_UP: Final = frozenset({"best", "final", "mean", "avg", "average", "overall"})
_BESIDE: Final = frozenset({"std", "stderr", "var", "variance", "baseline", "chance", "target", "threshold"})
"""measured beside the metric, or to compare it with"""
_OF_TRAINING: Final = frozenset({"train", "training"})
_OURS: Final = frozenset({"LightningCallback", "HuggingFaceCallback", "KerasCallback"})
_BOOSTERS: Final = frozenset({"XGBoostCallback", "LightGBMCallback"})
# words of variables that hold more than a number
_OBJECTS: Final = frozenset(
    (
        "logger",
        "meter",
        "meters",
        "tracker",
        "history",
        "fn",
        "func",
        "criterion",
        "type",
        "types",
        "name",
        "names",
        "mode",
    )
)
_LIGHTNING: Final = frozenset({"lightning", "pytorch_lightning"})
_KERAS: Final = frozenset({"keras", "tensorflow"})


@dataclass(frozen=True, kw_only=True)
class Metric:
    """What the trials are to be judged by."""

    name: str
    direction: str | None
    """None if the name does not tell"""
    is_reported: bool
    """whether the script reports it already"""
    variable: str = field(default="", compare=False)
    """what the script prints under this name"""
    callback: str = ""
    """of ``hpo_batch.integrations``, which would report it"""
    place: Place | None = field(default=None, compare=False)
    """where it is printed"""
    module: Path | None = field(default=None, compare=False)
    """the module that has it, if the script only imports it"""
    labels: Mapping[str, str] = field(default_factory=dict, compare=False)
    """the texts by which it, and the step, are found in the output; empty if they are not sure to be there"""
    is_mapping: bool = field(default=False, compare=False)
    """whether the variable holds several numbers by name, of which this is one"""
    said: str = field(default="", compare=False)
    """the text before its number"""
    is_several: bool = field(default=False, compare=False)
    """whether the script prints others like it: of batches, folds or parts of the data"""
    is_returned: bool = field(default=False, compare=False)
    """whether a Hydra application returns it, and prints it nowhere"""


def guess(tree: ast.Module, modules: Sequence[tuple[Path, ast.Module]] = ()) -> Metric | None:
    """The metric that a script reports; else one that its trainer logs, or that it prints; None if it names none.

    Args:
        tree: of the script.
        modules: those that lie beside it.
    """
    for find in (_reported, _of_trainers, _printed, _returned):
        for path, one in ((None, tree), *modules):
            found = [m for m in find(one) if path is not None or m.place is None or is_used(one, m.place.line)]
            if found:
                return replace(_best(found), module=path)
    return None


def _best(found: Sequence[Metric]) -> Metric:
    """The one to judge by. Where a script prints several like it, none is taken from the output."""
    best = max(found, key=_preference)
    alike = [one for one in found if (one.name, _preference(one)) == (best.name, _preference(best))]
    sure = [one for one in alike if not one.is_several]
    if len(sure) == 1 and sure[0].labels:
        return sure[0]
    if best.labels and len(sure) <= 1:
        return best
    return replace((sure or alike)[-1], labels={})  # the last is that of the validation, more often than not


def _metric(
    name: str, *, is_reported: bool = False, variable: str = "", callback: str = "", place: Place | None = None
) -> Metric:
    return Metric(
        name=name,
        direction=direction_of(name),
        is_reported=is_reported,
        variable=variable,
        callback=callback,
        place=place,
    )


def _preference(metric: Metric) -> tuple[bool, ...]:
    """Validation before test before training; what sums up before its parts, the end before the epochs; a name that
    tells its direction."""
    parts = {*tokens(metric.name), *tokens(metric.said)}
    is_of_training = bool({*tokens(metric.name)} & _OF_TRAINING)
    sums_up = bool(parts & _SUMS_UP) and not is_of_training
    return (
        not parts & _BESIDE,
        not is_of_training,
        bool(parts & _FROM_VALIDATION) or sums_up,
        "test" in parts,
        sums_up,
        metric.place is None or not metric.place.step,
        bool(metric.direction),
    )


def _reported(tree: ast.Module) -> Iterator[Metric]:
    return (_metric(name, is_reported=True) for name in _reported_names(tree))


def _reported_names(tree: ast.Module) -> Iterator[str]:
    names = _called(tree)
    if "hpo_batch" in _imported(tree):
        for node in ast.walk(tree):
            if isinstance(node, ast.Call) and called(node) == "report":
                yield from (str(k.arg) for k in node.keywords if k.arg not in (None, "step", "metrics"))
                yield from _keys(node)
    if "HuggingFaceCallback" in names:
        yield from _of_trainer(tree)
    if names & (_OURS - {"HuggingFaceCallback"}):
        yield from _logged(tree)
    if names & _BOOSTERS:
        yield from (name for name, _ in evaluated(tree, _imported(tree)))
    for line in _texts(tree):
        found = _RESULT.search(line)
        if found:
            yield found[1]
        elif bare := _BARE.search(line):
            yield bare[1].rpartition(".")[2]


def _of_trainers(tree: ast.Module) -> Iterator[Metric]:
    """What the trainer of a library has, and our callback would report."""
    imported, names = _imported(tree), _called(tree)
    if imported & _LIGHTNING:
        logged = list(_logged(tree))
        judged = [name for name in _monitored(tree) if name in logged] or logged
        yield from (_metric(name, callback="LightningCallback") for name in judged)
    elif "transformers" in imported and any(name.endswith("Trainer") for name in names):
        yield from (_metric(name, callback="HuggingFaceCallback") for name in _of_trainer(tree))
    elif imported & _KERAS and "fit" in names:
        given = {k.arg for node in ast.walk(tree) if called(node) == "fit" for k in getattr(node, "keywords", ())}
        if given & {"validation_data", "validation_split"}:
            yield _metric("val_loss", callback="KerasCallback")
    yield from (_metric(name, callback=callback) for name, callback in evaluated(tree, imported))


def _called(tree: ast.AST) -> set[str]:
    return {called(node) for node in ast.walk(tree) if isinstance(node, ast.Call)}


def _imported(tree: ast.AST) -> set[str]:
    """The first names of the packages that a module imports."""
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.add(node.module.partition(".")[0])
    return found


def _keys(call: ast.Call) -> Iterator[str]:
    """The keys of ``report(3, {"val/auc": 0.7})``."""
    for argument in call.args:
        if isinstance(argument, ast.Dict):
            yield from (
                key.value for key in argument.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)
            )


def _logged(tree: ast.AST) -> Iterator[str]:
    """Names of ``self.log("val_loss", ...)`` and ``self.log_dict({...})`` of Lightning."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in ("log", "log_dict"):
            first = node.args[0] if node.args else None
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value
            elif isinstance(first, ast.JoinedStr):
                yield from _of_stages(tree, first)
            yield from _keys(node)


def _of_stages(tree: ast.AST, name: ast.JoinedStr) -> Iterator[str]:
    """The names that ``f"{stage}_loss"`` stands for, by the stages that the module names: ``val_loss``."""
    if [type(part) for part in name.values] == [ast.FormattedValue, ast.Constant]:
        rest = name.values[1]
        stages = {one.value for one in ast.walk(tree) if isinstance(one, ast.Constant) and isinstance(one.value, str)}
        yield from (f"{stage}{getattr(rest, 'value', '')}" for stage in sorted(stages & SPLITS))


def _monitored(tree: ast.AST) -> Iterator[str]:
    """What the checkpoints and the early stopping of Lightning judge by: ``ModelCheckpoint(monitor="val_loss")``."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and called(node) in ("ModelCheckpoint", "EarlyStopping"):
            monitor = arguments(node, *(("monitor",) if called(node) == "EarlyStopping" else ())).get("monitor")
            if isinstance(monitor, ast.Constant) and isinstance(monitor.value, str):
                yield monitor.value


def _of_trainer(tree: ast.AST) -> Iterator[str]:
    """The loss, and the keys that ``compute_metrics`` returns to the Trainer."""
    yield from (name if name.startswith("eval_") else f"eval_{name}" for name in _computed(tree))
    yield "eval_loss"


def _computed(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef) and "metric" in node.name:
            for inner in ast.walk(node):
                if isinstance(inner, ast.Return) and isinstance(inner.value, ast.Dict):
                    keys = inner.value.keys
                    yield from (k.value for k in keys if isinstance(k, ast.Constant) and isinstance(k.value, str))


def _printed(tree: ast.Module) -> Iterator[Metric]:
    """Measurements that are printed, by the text before them; by their variable where that is the better name."""
    calls = sorted(shown(tree), key=lambda one: (one[0].lineno, one[0].col_offset))
    number, mappings = computed(tree)
    for call, one in [(call, one) for call, values in calls for one in values]:
        label, variable = _LABEL.search(one.before), ast.unparse(one.value)
        name = re.sub(r"[\s-]+", "_", label[1].strip(" -")).replace("@", "") if label else ""
        is_spaced, own = label is None or " " in label[1], _own_name(one.value)
        if (is_spaced or not _is_measure(name)) and _is_measure(own):
            name = own
        if variable in mappings:
            yield replace(_metric(number, variable=variable, place=place_of(tree, one.value)), is_mapping=True)
        elif _is_measure(name) and _is_number(one.value):
            place = place_of(tree, one.value)
            found = _metric(name, variable=variable if len(variable) <= _LONGEST else "", place=place)
            step = place.step if place is not None else ""
            is_sure = is_result(tree, call, one.value)
            is_shown = is_sure and is_seen(tree, call)
            labels = printed_labels(name, one.value, step, [values for _, values in calls]) if is_shown else {}
            yield replace(found, labels=labels, said=one.before, is_several=not is_sure)


def _is_number(value: ast.expr) -> bool:
    """Whether a value may be one that was measured: no constant, option or object."""
    return not isinstance(value, ast.Constant) and not is_option(value) and not {*tokens(called(value))} & _OBJECTS


def _own_name(value: ast.expr) -> str:
    """``val_loss`` of ``val_loss``, ``self.val_loss`` and ``logs["val_loss"]``."""
    match value:
        case ast.Name(id=name) | ast.Attribute(attr=name) | ast.Subscript(slice=ast.Constant(value=str(name))):
            return name
    return ""


def _returned(tree: ast.Module) -> Iterator[Metric]:
    """What a Hydra application returns to its sweeper."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.FunctionDef) or not any(called(one) == "main" for one in node.decorator_list):
            continue
        for inner in ast.walk(node):
            if isinstance(inner, ast.Return) and inner.value is not None and ast.unparse(inner.value) != "None":
                variable = ast.unparse(inner.value)
                name = variable if variable.isidentifier() and _is_measure(variable) else "objective"
                place = Place(line=inner.lineno, step="")
                found = _metric(name, variable=variable if len(variable) <= _LONGEST else "", place=place)
                yield replace(found, is_returned=True)


def _is_measure(name: str) -> bool:
    """Whether one of its words is a measurement, also with a number: ``acc1`` of ``Acc@1``."""
    parts = tokens(name)
    if set(parts) & _OBJECTS:
        return False
    return bool({*parts, *(part.rstrip("0123456789") for part in parts)} & MEASURES)


def _texts(tree: ast.AST) -> Iterator[str]:
    """Texts and f-strings, whose values stand as ``{name}``."""
    inside: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            inside |= {id(part) for part in node.values}
            yield "".join(
                str(part.value) if isinstance(part, ast.Constant) else "{" + ast.unparse(_value_of(part)) + "}"
                for part in node.values
            )
        elif isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in inside:
            yield node.value


def _value_of(part: ast.expr) -> ast.expr:
    return part.value if isinstance(part, ast.FormattedValue) else part
