"""Which column of a foreign table is what: parameter, objective, measurement, bookkeeping. Decided by name and content.

Every decision can be overruled (``Columns``), and is told: nothing here is silent.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.text.names import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Columns:
    """What a user said of the columns of a file. Empty: find out."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    """our name -> the file's name: ``lr`` -> ``learning_rate``"""
    value: tuple[str, ...] = ()
    """the objectives, by the file's names"""
    directions: tuple[str, ...] = ()
    """``minimize`` or ``maximize``, one for each objective or one for all"""
    params: tuple[str, ...] = ()
    """the parameters, and no others"""
    ignore: tuple[str, ...] = ()
    """columns that are left out altogether"""

    def over(self, shared: Columns) -> Columns:
        """What was said of one file, and where that says nothing, what was said of all."""
        return Columns(
            mapping={**shared.mapping, **self.mapping},
            value=self.value or shared.value,
            directions=self.directions or shared.directions,
            params=self.params or shared.params,
            ignore=self.ignore or shared.ignore,
        )

    @property
    def first_option(self) -> str:
        """The first option that was used to say something; an empty text if none was."""
        options = {"--map": self.mapping, "--value": self.value, "--direction": self.directions,
                   "--params": self.params, "--ignore": self.ignore}  # fmt: skip
        return next((option for option, content in options.items() if content), "")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """Each column of a file with its part in the trials table."""

    ours: Mapping[str, str]
    """column of the trials table -> column of the file"""
    values: tuple[str, ...]
    params: tuple[str, ...]
    """columns of the file"""
    attrs: tuple[str, ...]
    """measurements and remarks: kept as ``user_attrs_*``"""


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


PREFIXES: Final = ("params_", "params.", "config.", "config/", "hparams/", "hparams.", "hyperparameters.")
"""how exports mark parameters: Optuna and hpo-batch, MLflow, Weights & Biases, Ray Tune, Aim"""
ATTR_PREFIXES: Final = ("user_attrs_", "metrics.", "summary.", "tags.")
CONSTRAINTS: Final = ("constraints_", "system_attrs_constraints")
"""a trial is feasible if none of them is above zero: ours, and as Optuna's data frames have them"""
STEPS: Final = ("training_iteration", "epoch", "_step", "global_step", "trainer/global_step", "n_resources")
"""columns that say how far a trial was, where rows are steps of trials; never parameters"""
WEAK_STEPS: Final = ("step", "iteration", "iter", "round", "timestep", "timesteps_total")
"""the same, or numbers of trials"""

_OURS: Final[Mapping[str, tuple[str, ...]]] = {
    "number": ("number", "trial", "trial_number", "trial_id", "exp_id", "experiment_id", "run_id", "run", "id"),
    "state": ("state", "status"),
    "seed": ("seed", "train_seed", "random_seed", "random_state"),
    "name": ("name", "config_name", "trial_name", "run_name"),
    "set": ("set",),
    "note": ("note", "notes", "comment", "remark"),
    "origin": ("origin",),
    "reason": ("reason",),
    "message": ("message", "error_message"),
    "feasible": ("feasible",),
    "datetime_start": ("datetime_start", "started", "start_time", "created", "created_at"),
    "datetime_complete": ("datetime_complete", "ended", "end_time", "finished", "finished_at"),
    "seconds_total": ("seconds_total", "duration_sec", "duration_s", "duration_seconds", "runtime_s", "seconds",
                      "elapsed_s", "time_total_s", "runtime", "_runtime"),
    "duration": ("duration",),
    "attempts": ("attempts",),
    "node": ("node", "host", "hostname"),
    "gpus": ("gpus",),
    "job": ("job", "job_id", "slurm_job_id"),
    "submission": ("submission",),
}  # fmt: skip
"""columns of the trials table, and under which names files have them, the likeliest first"""
GROUPS: Final = ("study", "budget")
"""columns that say which of several studies a row belongs to"""
_BOOKKEEPING: Final = _words(
    "trial trial_id trial_number run run_id exp_id experiment_id config_id "  # where another of them is the number
    "rank index row unnamed source path file filename dir directory url user epochs_run epochs_trained "
    "checkpoint_epoch best_epoch last_epoch stopped_early early_stopped timestamp date time wall_time walltime "
    "param_source forced_extreme extreme_type dry_run retry_of exit_code pid gpu_h gpu_hours "
    "n_eval n_pos n_neg n_params params_count parameter_count num_params num_parameters git_commit commit version "
    "config_source done node_ip logdir trial_dir experiment_tag created updated heartbeat sweep group job_type tags "
    "runtime project entity id uuid notes hostname gpu_count gpu_type cpu_count os python host run_url"
)
_MEASURES: Final = _words(
    "acc accuracy auc auroc auprc aupr roc ap map ndcg f1 fbeta precision recall sensitivity specificity kappa "
    "mcc iou dice r2 bleu rouge meteor score reward return fitness loss error err rmse mse mae mape nll logloss "
    "crossentropy perplexity ppl bpb bpc wer cer fid pred tp tn fp fn hits correct regret objective metric"
)
_SPLITS: Final = _words("train training val valid validation test eval evaluation dev holdout heldout")
_SETTINGS: Final = _words(
    "weight weights coef coefficient alpha beta gamma lambda scale factor smoothing fn function type name kind "
    "mode size batch split ratio fraction frac lr rate steps every epochs seed threshold temperature margin "
    "reduction"
)
_MAXIMIZE: Final = _words(
    "acc accuracy auc auroc auprc aupr roc ap map ndcg f1 fbeta precision recall sensitivity specificity kappa "
    "mcc iou dice r2 bleu rouge meteor score reward return fitness hits correct"
)
_MINIMIZE: Final = _words(
    "loss error err rmse mse mae mape nll logloss crossentropy perplexity ppl bpb bpc wer cer fid regret time "
    "seconds latency cost"
)


_SECONDARY: Final = _words("std stderr sem var rank time seconds ci low high lower upper")
"""of names of measurements that tell how sure, or how long, and not how good"""


def tokens(name: str) -> list[str]:
    """The words of a column's name: ``valAUC_mean`` is ``val``, ``auc``, ``mean``."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)
    return [part for part in re.split(r"[^0-9a-zA-Z]+", parts.lower()) if part]


def direction_of(name: str) -> str | None:
    """Whether more of a metric is better, as far as its name tells."""
    words = tokens(name)
    turned = next((i for i, word in enumerate(words) if word in ("neg", "negative")), None)
    up, down = bool(set(words) & _MAXIMIZE), bool(set(words) & _MINIMIZE)
    if turned is not None and set(words[turned:]) & _MINIMIZE:  # neg_mean_squared_error, as scikit-learn scores it
        up, down = True, False
    return None if up == down else "maximize" if up else "minimize"


def is_measure(name: str, column: pd.Series[Any]) -> bool:
    """Whether a column is what a trial measured: a number under a name of measurements."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    words = tokens(name)
    if not words or (words[-1] in _SETTINGS and not (words[-1] == "fn" and words[0] in _SPLITS)):
        return False
    if len(words) == 1 and words[0] == "precision":
        # of the arithmetic: 16, 32; of a classifier: a share
        return bool((column.dropna() <= 1).all())
    return bool(_MEASURES & set(words)) or (len(words) > 1 and words[0] in _SPLITS and _is_real(column))


def _is_real(column: pd.Series[Any]) -> bool:
    return pd.api.types.is_float_dtype(column) and column.dropna().nunique() > max(4, len(column) // 4)


def roles(frame: pd.DataFrame, given: Columns, *, file: str, space: Sequence[str] | None = None) -> Roles:
    """What each column is.

    Args:
        frame: as read, empty columns left out already.
        given: what the user said.
        file: for messages.
        space: names of the parameters where a sweep tells them.

    Raises:
        UserError: a column that was named is not there, there is no objective, or no parameter.
    """
    columns = [str(c) for c in frame.columns]
    for option, names in (("--value", given.value), ("--params", given.params)):
        for name in names:
            check_column(name, columns, option=option, file=file)
    for ours, theirs in given.mapping.items():
        check_column(theirs, columns, option=f"--map {ours}={theirs}", file=file)
    left = [c for c in columns if c not in given.value and c not in given.params]
    known = _known(frame, left, given)
    left = [c for c in left if c not in known.values() and c not in GROUPS]
    values = given.value or _objective(left, frame, file=file)
    left = [c for c in left if c not in values]
    if given.params:
        return Roles(ours=known, values=values, params=given.params, attrs=tuple(left))
    named = {theirs for ours, theirs in given.mapping.items() if ours not in _OURS}
    marked = [c for c in left if c.startswith(PREFIXES)]
    if space is not None:
        params = [c for c in left if bare(c, given.mapping) in space]
        missing = [name for name in space if name not in {bare(c, given.mapping) for c in params}]
        if not params:
            raise UserError(
                f"{file}: none of the sweep's parameters ({', '.join(space)}) is a column; the columns are "
                f"{', '.join(left)}; --map parameter=column says which is which (missing: {', '.join(missing)})"
            )
    elif marked:
        params = [c for c in left if c in marked or c in named]
    else:
        params = [c for c in left if c in named or is_parameter(c, frame[c])]
    return Roles(ours=known, values=values, params=tuple(params), attrs=tuple(c for c in left if c not in params))


def is_known(name: str) -> bool:
    """Whether a column's name is one of the trials table's columns, by any of its spellings."""
    return any(name.lower() in names for names in _OURS.values())


def bare(column: str, mapping: Mapping[str, str]) -> str:
    """The name of the parameter or attribute in a column: as mapped, or without the export's prefix."""
    for ours, theirs in mapping.items():
        if theirs == column:
            return ours
    for prefix in (*PREFIXES, *ATTR_PREFIXES):
        if column.startswith(prefix) and len(column) > len(prefix):
            return column.removeprefix(prefix)
    return column


def is_parameter(name: str, column: pd.Series[Any]) -> bool:
    """Whether an unmarked column is a parameter: what is neither a measurement, nor bookkeeping, nor free text."""
    if name.startswith((*ATTR_PREFIXES, *CONSTRAINTS, "system_attrs_", "_")) or is_measure(name, column):
        return False  # what begins with _ is the exporting program's own
    if name.lower() in (*STEPS, *WEAK_STEPS) or "_".join(tokens(name)) in _BOOKKEEPING or name.lower() in _BOOKKEEPING:
        return False
    if name.lower().startswith("unnamed:"):
        return False
    there = column.dropna()
    if tokens(name) and tokens(name)[-1] in ("sec", "secs", "seconds", "minutes", "time", "timestamp", "date"):
        return False
    if pd.api.types.is_bool_dtype(column) or pd.api.types.is_numeric_dtype(column):
        return True
    words = tokens(name)
    if words and words[0] in _SPLITS and _MEASURES & set(words):
        return False  # a remark on a measurement, such as where it was taken from
    different = there.astype(str).nunique()
    return 1 < different <= max(10, len(there) // 2)  # a text that is always the same, or hardly ever, is a remark


def _known(frame: pd.DataFrame, columns: Sequence[str], given: Columns) -> dict[str, str]:
    """Columns of the trials table under the file's names."""
    lower = {c.lower(): c for c in reversed(columns)}
    found = {ours: theirs for ours, theirs in given.mapping.items() if ours in _OURS}
    taken = set(given.mapping.values())
    for ours, names in _OURS.items():
        if ours in found:
            continue
        for name in names:
            column = lower.get(name)
            if column is not None and column not in taken and _fits(ours, frame[column]):
                found[ours] = column
                taken.add(column)
                break
    return found


def _fits(ours: str, column: pd.Series[Any]) -> bool:
    """Whether a column can be what its name says."""
    if ours == "number":
        return bool(_whole(column))
    if ours == "feasible":
        return bool(pd.api.types.is_bool_dtype(column) and column.notna().all())
    if ours in ("seconds_total", "attempts"):
        return pd.api.types.is_numeric_dtype(column)
    if ours == "seed":
        return bool(_whole(column.dropna()))
    return True


def _whole(column: pd.Series[Any]) -> bool:
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column) or column.isna().any():
        return False
    return bool((column.astype("float64") % 1 == 0).all())


def _objective(columns: Sequence[str], frame: pd.DataFrame, *, file: str) -> tuple[str, ...]:
    if "value" in columns:
        return ("value",)
    several = tuple(c for c in columns if re.fullmatch(r"values_.+", c))
    if several:
        return several
    candidates = [c for c in columns if is_measure(c, frame[c])]
    # of scikit-learn's searches, whose scores stand for each split and for training, too
    main = [c for c in columns if c.startswith("mean_test_")]
    main = main or [c for c in candidates if not _SECONDARY & set(tokens(c))]
    if len(main) == 1:
        return (main[0],)
    candidates = main or candidates
    there = ", ".join(candidates or [c for c in columns if pd.api.types.is_numeric_dtype(frame[c])]) or "none"
    raise UserError(
        f"{file}: no column 'value', so it is not known which one is the objective; say --value COLUMN "
        f"({'measurements' if candidates else 'columns of numbers'} there: {there})"
    )


def check_column(name: str, columns: Sequence[str], *, option: str, file: str) -> None:
    """Raises UserError if there is no such column."""
    if name not in columns:
        meant = did_you_mean(name, columns, otherwise=f"; there are {', '.join(columns)}")
        raise UserError(f"{option}: {file} has no column '{name}'{meant}")
