"""Classify the columns of a file by name and content: parameter, objective, measurement or bookkeeping.

Users can override every decision (``Columns``); a note lists the decisions.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.text.metric_names import MEASURES, SPLITS, tokens, words
from hpo_batch.text.metric_names import direction_of as direction_of
from hpo_batch.text.names import did_you_mean


@dataclass(frozen=True, kw_only=True)
class Columns:
    """The user's options about the columns of a file; empty fields are inferred."""

    mapping: Mapping[str, str] = field(default_factory=dict)
    """our name -> the file's name: ``lr`` -> ``learning_rate``"""
    value: tuple[str, ...] = ()
    """the objectives, by the file's names"""
    directions: tuple[str, ...] = ()
    """``minimize`` or ``maximize``, one for each objective or one for all"""
    params: tuple[str, ...] = ()
    """the parameters, and no others"""
    ignore: tuple[str, ...] = ()
    """columns to leave out"""

    def over(self, shared: Columns) -> Columns:
        """The options for one file, completed by those for all files."""
        return Columns(
            mapping={**shared.mapping, **self.mapping},
            value=self.value or shared.value,
            directions=self.directions or shared.directions,
            params=self.params or shared.params,
            ignore=self.ignore or shared.ignore,
        )

    @property
    def first_option(self) -> str:
        """The first option that was given; empty if none was."""
        options = {"--map": self.mapping, "--value": self.value, "--direction": self.directions,
                   "--params": self.params, "--ignore": self.ignore}  # fmt: skip
        return next((option for option, content in options.items() if content), "")


@dataclass(frozen=True, kw_only=True)
class Roles:
    """The role of each column of a file in the trials table."""

    ours: Mapping[str, str]
    """column of the trials table -> column of the file"""
    values: tuple[str, ...]
    params: tuple[str, ...]
    """columns of the file"""
    attrs: tuple[str, ...]
    """measurements and notes, which become ``user_attrs_*``"""


# prefixes of parameters: Optuna and hpo-batch, MLflow, Weights & Biases, Ray Tune, Aim
PREFIXES: Final = ("params_", "params.", "config.", "config/", "hparams/", "hparams.", "hyperparameters.")
ATTR_PREFIXES: Final = ("user_attrs_", "metrics.", "summary.", "tags.")
# A trial is feasible if no constraint is above zero, as in Optuna; the second name is from Optuna's data frames:
# https://optuna.readthedocs.io/en/latest/reference/samplers/generated/optuna.samplers.TPESampler.html
CONSTRAINTS: Final = ("constraints_", "system_attrs_constraints")
# columns that count the steps of a trial, where rows are steps; never parameters
STEPS: Final = ("training_iteration", "epoch", "_step", "global_step", "trainer/global_step", "n_resources")
# columns that count steps, or number the trials
WEAK_STEPS: Final = ("step", "iteration", "iter", "round", "timestep", "timesteps_total")

# columns of the trials table -> their names in files, the most likely first. Generic names such as id come last
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
# columns that name the study of a row, in files with several studies
GROUPS: Final = ("study", "budget")
_BOOKKEEPING: Final = words(
    "trial trial_id trial_number run run_id exp_id experiment_id config_id "  # if another one is the trial's number
    "rank index row unnamed source path file filename dir directory url user epochs_run epochs_trained "
    "checkpoint_epoch best_epoch last_epoch stopped_early early_stopped timestamp date time wall_time walltime "
    "param_source forced_extreme extreme_type dry_run retry_of exit_code pid gpu_h gpu_hours "
    "n_eval n_pos n_neg n_params params_count parameter_count num_params num_parameters git_commit commit version "
    "config_source done node_ip logdir trial_dir experiment_tag created updated heartbeat sweep group job_type tags "
    "runtime project entity id uuid notes hostname gpu_count gpu_type cpu_count os python host run_url"
)
_SETTINGS: Final = words(
    "weight weights coef coefficient alpha beta gamma lambda scale factor smoothing fn function type name kind "
    "mode size batch split ratio fraction frac lr rate steps every epochs seed threshold temperature margin "
    "reduction"
)

# words in names of measurements of uncertainty or time, which are no objectives
_SECONDARY: Final = words("std stderr sem var rank time seconds ci low high lower upper")


def is_measure(name: str, column: pd.Series[Any]) -> bool:
    """Whether a column is a measurement: numbers under a name of measurements."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    words = tokens(name)
    if not words or (words[-1] in _SETTINGS and not (words[-1] == "fn" and words[0] in SPLITS)):
        return False
    if len(words) == 1 and words[0] == "precision":
        # a classifier's precision is at most 1; floating-point precision is 16 or 32
        return bool((column.dropna() <= 1).all())
    return bool(MEASURES & set(words)) or (len(words) > 1 and words[0] in SPLITS and _is_real(column))


def _is_real(column: pd.Series[Any]) -> bool:
    # few different values are levels of a setting, such as train_size 0.5 or 0.8; measurements rarely repeat
    return pd.api.types.is_float_dtype(column) and column.dropna().nunique() > max(4, len(column) // 4)


def roles(frame: pd.DataFrame, given: Columns, *, file: str, space: Sequence[str] | None = None) -> Roles:
    """Decide the role of each column.

    Args:
        frame: as read, empty columns left out already.
        given: the user's options.
        file: name of the file for messages.
        space: names of the parameters, if a sweep is known.

    Raises:
        UserError: a column that the user named does not exist, there is no objective, or no parameter.
    """
    columns = [str(name) for name in frame.columns]
    _check_named(given, columns, file=file)
    open_ = [name for name in columns if name not in given.value and name not in given.params]
    ours = _bookkeeping(frame, open_, given)
    open_ = [name for name in open_ if name not in ours.values() and name not in GROUPS]
    values = given.value or _objective(open_, frame, file=file)
    open_ = [name for name in open_ if name not in values]
    params = given.params or tuple(_parameters(frame, open_, given, space, file=file))
    return Roles(ours=ours, values=values, params=params, attrs=tuple(name for name in open_ if name not in params))


def _check_named(given: Columns, columns: Sequence[str], *, file: str) -> None:
    """Raises UserError for a column that the user named and that does not exist."""
    options = [("--value", name) for name in given.value] + [("--params", name) for name in given.params]
    options += [(f"--map {ours}={theirs}", theirs) for ours, theirs in given.mapping.items()]
    for option, name in options:
        check_column(name, columns, option=option, file=file)


def _parameters(
    frame: pd.DataFrame, columns: Sequence[str], given: Columns, space: Sequence[str] | None, *, file: str
) -> list[str]:
    """The parameters among the other columns: those of the sweep, else those with a prefix, else by name and content.

    Raises:
        UserError: none is a parameter of the space.
    """
    if space is not None:
        ours = {name: bare(name, given.mapping) for name in columns}
        params = [name for name in columns if ours[name] in space]
        if not params:
            raise UserError(
                f"{file}: none of the sweep's parameters ({', '.join(space)}) is a column; the columns are "
                f"{', '.join(columns)}; map them with --map PARAMETER=COLUMN"
            )
        return params
    mapped = {theirs for ours, theirs in given.mapping.items() if ours not in _OURS}
    # if the program marks parameters with a prefix, it marks all of them
    is_marked = any(name.startswith(PREFIXES) for name in columns)
    return [
        name
        for name in columns
        if name in mapped or (name.startswith(PREFIXES) if is_marked else is_parameter(name, frame[name]))
    ]


def is_known(name: str) -> bool:
    """Whether the trials table has a column of this name, in any spelling."""
    return any(name.lower() in names for names in _OURS.values())


def bare(column: str, mapping: Mapping[str, str]) -> str:
    """The name of the parameter or attribute in a column: as mapped, or without the tool's prefix."""
    for ours, theirs in mapping.items():
        if theirs == column:
            return ours
    for prefix in (*PREFIXES, *ATTR_PREFIXES):
        if column.startswith(prefix) and len(column) > len(prefix):
            return column.removeprefix(prefix)
    return column


def is_parameter(name: str, column: pd.Series[Any]) -> bool:
    """Whether an unmarked column is a parameter: neither a measurement, nor bookkeeping, nor free text."""
    if name.startswith((*ATTR_PREFIXES, *CONSTRAINTS, "system_attrs_", "_")) or is_measure(name, column):
        return False  # names with _ belong to the program (W&B: _step, _runtime)
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
    if words and words[0] in SPLITS and MEASURES & set(words):
        return False  # text about a measurement, such as the file it comes from
    different = there.astype(str).nunique()
    return 1 < different <= max(10, len(there) // 2)  # constant text, or text that hardly repeats, is a remark


def _bookkeeping(frame: pd.DataFrame, columns: Sequence[str], given: Columns) -> dict[str, str]:
    """Column of the trials table -> the file's, for all but values, parameters and attributes."""
    # reversed, so that the first of several names that differ only in case wins
    by_lower_name = {name.lower(): name for name in reversed(columns)}
    ours_to_theirs = {ours: theirs for ours, theirs in given.mapping.items() if ours in _OURS}
    taken = set(given.mapping.values())
    for ours, names in _OURS.items():
        if ours in ours_to_theirs:
            continue
        there = (by_lower_name[name] for name in names if name in by_lower_name)
        theirs = next((name for name in there if name not in taken and _fits(ours, frame[name])), None)
        if theirs is not None:
            ours_to_theirs[ours] = theirs
            taken.add(theirs)
    return ours_to_theirs


def _fits(ours: str, column: pd.Series[Any]) -> bool:
    """Whether the content of a column fits its name; other programs have text in trial or attempts."""
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
    # scikit-learn writes scores of each split and of training too
    main = [c for c in columns if c.startswith("mean_test_")]
    main = main or [c for c in candidates if not _SECONDARY & set(tokens(c))]
    if len(main) == 1:
        return (main[0],)
    candidates = main or candidates
    there = ", ".join(candidates or [c for c in columns if pd.api.types.is_numeric_dtype(frame[c])]) or "none"
    raise UserError(
        f"{file}: no column 'value': choose the objective with --value COLUMN "
        f"({'measurements' if candidates else 'columns of numbers'} there: {there})"
    )


def check_column(name: str, columns: Sequence[str], *, option: str, file: str) -> None:
    """Raises UserError if there is no such column."""
    if name not in columns:
        meant = did_you_mean(name, columns, otherwise=f"; there are {', '.join(columns)}")
        raise UserError(f"{option}: {file} has no column '{name}'{meant}")
