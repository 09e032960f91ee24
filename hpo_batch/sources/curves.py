"""Decide whether the rows of a table are trials or steps of trials, and combine steps into trials.

Ray Tune, W&B, Lightning and Keras write one row per epoch or report. Read as trials, five of them would be five trials
of one configuration, with the epoch as a parameter. Rows are steps if a column counts them within each trial, and no
parameter changes from row to row.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import pandas as pd

from hpo_batch.errors import UserError
from hpo_batch.sources.columns import GROUPS, PREFIXES, STEPS, WEAK_STEPS, Columns, is_known, is_measure, is_parameter
from hpo_batch.text.names import listed
from hpo_batch.text.values import shown

# names of columns that identify trials, the most likely first; if an id appears twice, rows are not trials
IDS: Final = ("trial_id", "trial", "trial_number", "number", "run_id", "exp_id", "id", "uuid", "run", "config_id")
# names that several trials may share
_NAMES: Final = ("trial_name", "run_name", "experiment_tag", "logdir", "trial_dir", "name", "config_name")
# names that no column of a file has
TRIAL: Final = "\0trial"
STEP: Final = "\0step"
_SEEDS: Final = ("seed", "train_seed", "random_seed", "random_state")


@dataclass(frozen=True, kw_only=True)
class Folded:
    """A table with a row for each trial."""

    frame: pd.DataFrame
    steps: pd.DataFrame | None = None
    """the original rows, with ``TRIAL`` (position of the row's trial in ``frame``) and ``STEP``; None if rows are
    trials"""
    notes: tuple[str, ...] = ()


def folded(frame: pd.DataFrame, given: Columns) -> Folded:
    """The table itself if its rows are trials; else each trial's last values, and the steps for curves."""
    names = {str(c).lower(): str(c) for c in frame.columns}
    taken = {*given.params, *given.value, *given.mapping.values()}
    for name in (*STEPS, *WEAK_STEPS):
        step = names.get(name)
        if step is None or step in taken or not _counts(frame[step]):
            continue
        keys = _trial_keys(frame, step, names, taken, is_weak=name in WEAK_STEPS)
        if keys is not None:
            return _folded(frame, step, keys)
    return Folded(frame=frame)


def _counts(column: pd.Series[Any]) -> bool:
    """Whether a column can count steps: whole numbers, not always the same."""
    if not pd.api.types.is_numeric_dtype(column) or pd.api.types.is_bool_dtype(column):
        return False
    there = column.dropna().astype("float64")
    return len(there) > 1 and bool(((there % 1 == 0) & (there >= 0)).all()) and there.nunique() > 1


def _trial_keys(
    frame: pd.DataFrame, step: str, names: Mapping[str, str], taken: Collection[str], *, is_weak: bool
) -> list[str] | None:
    """The columns that identify trials, if the rows are steps; None if they are trials."""
    both = [names[name] for name in (*GROUPS, *_SEEDS) if name in names and frame[names[name]].notna().all()]
    both = [name for name in both if name != step and name not in taken]
    for name in (*IDS, *_NAMES):
        column = names.get(name)
        if column is None or column == step or frame[column].isna().any():
            continue
        if len(frame.drop_duplicates([*both, column])) == len(frame):
            return None  # each row has its own name, so rows are trials
        keys = [*both, column]
        # Repeated names do not prove that rows are steps: trials may share a name and state their best epoch, and two
        # studies in one file repeat trial numbers. Steps count up, or their trial has one configuration in all rows.
        is_one = name in IDS and frame[column].nunique() > 1 and _is_constant(frame, _given(frame, taken), keys)
        if (is_one or _is_regular(frame, step, keys)) and (not is_weak or _is_told_once(frame, [*keys, step])):
            return keys
    varied = [c for c in _given(frame, taken) if c not in (*both, step) and frame[c].nunique(dropna=False) > 1]
    keys = [*both, *varied]
    if keys and _is_regular(frame, step, keys):
        return keys if _is_told_once(frame, [*keys, step]) else None
    if both or (is_weak and varied):
        return None  # configurations differ from row to row, so a column such as step numbers the trials
    return [] if _is_one_training(frame[step].tolist(), strict=bool(varied)) else None


def _given(frame: pd.DataFrame, taken: Collection[str] = ()) -> list[str]:
    """The inputs of trials, as opposed to measurements: parameters, by prefix or by name."""
    names = list(map(str, frame.columns))
    marked = [name for name in names if name.startswith(PREFIXES)]
    wanted = [name for name in names if name in taken and not is_measure(name, frame[name])]
    return [*marked, *(name for name in wanted if name not in marked)] or [
        name for name in names if not is_known(name) and is_parameter(name, frame[name])
    ]


def _is_constant(frame: pd.DataFrame, columns: Sequence[str], keys: Sequence[str]) -> bool:
    """Whether each trial has the same values in all its rows."""
    there = [name for name in columns if name not in keys]
    return not there or bool((frame.groupby(list(keys), dropna=False)[there].nunique() <= 1).all(axis=None))


def _is_told_once(frame: pd.DataFrame, columns: Sequence[str]) -> bool:
    """Whether rows of the same step agree. Some programs write training and validation in separate rows: they do."""
    again = frame[frame.duplicated(list(columns), keep=False)]
    return again.empty or bool((again.groupby(list(columns), dropna=False).nunique() <= 1).all(axis=None))


def _is_regular(frame: pd.DataFrame, step: str, keys: Sequence[str]) -> bool:
    """Whether the rows of each trial start at the same step and continue with the same steps, in order."""
    if frame[step].isna().any():
        return False
    parts = frame.groupby(list(keys), sort=False, dropna=False)[step]
    orders = [tuple(dict.fromkeys(part.tolist())) for _, part in parts]
    longest = max(orders, key=len)
    # a trial that was stopped early has the first steps of the longest one
    is_counted = len(longest) > 1 and list(longest) == sorted(longest)
    return is_counted and all(order == longest[: len(order)] for order in orders)


def _is_one_training(steps: Sequence[float], *, strict: bool) -> bool:
    """Whether a table in which no parameter varies is one curve.

    Args:
        strict: something varies, such as a learning rate that follows a schedule.
    """
    # strict: equal gaps prove something only if there are two of them
    if len(steps) < (3 if strict else 2) or any(step != step for step in steps) or list(steps) != sorted(steps):
        return False
    gaps = {b - a for a, b in itertools.pairwise(steps)} - {0}
    return not strict or (len(gaps) == 1 and steps[0] in (0, *gaps))


def _folded(frame: pd.DataFrame, step: str, keys: Sequence[str]) -> Folded:
    trials = frame.groupby(list(keys), sort=False, dropna=False).ngroup() if keys else pd.Series(0, index=frame.index)
    steps = frame.assign(**{TRIAL: trials, STEP: frame[step]})
    # rows without a step first, so that the last value comes from a real step
    ordered = steps.sort_values([TRIAL, STEP], kind="stable", na_position="first")
    last = ordered.drop(columns=STEP).groupby(TRIAL, sort=True).last()  # the last value of each column
    for name in frame.columns:
        last[name] = last[name].astype(frame[name].dtype)
    if not _is_told_once(steps, [TRIAL, STEP]):
        again = f"steps reported more than once, as after a restart, keep their last values: '{step}'"
    else:
        again = ""
    ends = ordered.groupby(TRIAL)[STEP].max()
    by = f", identified by {listed(keys)}" if keys else ""
    trials_told = f"{len(last)} trial{'' if len(last) == 1 else 's'}{by}"
    told = [
        f"rows are steps of trials, counted by '{step}': {len(frame)} rows are {trials_told}; values are those of "
        f"the last step (--ignore {step} reads each row as a trial)"
    ]
    if short := int((ends < ends.max()).sum()):
        told.append(
            f"{short} of {len(last)} trials end before step {int(ends.max())}, the last step of the others: their "
            "values come from fewer steps"
        )
    changing = [name for name in _given(frame) if name not in (*keys, step) and _changes(steps, name)]
    if again:
        told.append(again)
    marked = [name for name in changing if name.startswith(PREFIXES)]
    if marked:
        told.append(f"parameters that change within a trial, taken from its last step: {listed(marked)}")
    if unmarked := [name for name in changing if name not in marked]:
        told.append(f"not parameters, since they change within a trial: {listed(unmarked)}")
        last = last.rename(columns={name: f"user_attrs_{name}" for name in unmarked})
    return Folded(frame=last.reset_index(drop=True), steps=steps, notes=tuple(told))


def _changes(steps: pd.DataFrame, name: str) -> bool:
    return bool((steps.groupby(TRIAL)[name].nunique() > 1).any())


def reports_of(steps: pd.DataFrame, value: str, numbers: Mapping[int, int]) -> pd.DataFrame:
    """``number step value`` of the objective, of the trials whose places are in ``numbers``."""
    there = steps[steps[TRIAL].isin(list(numbers)) & steps[STEP].notna() & steps[value].notna()]
    found = pd.DataFrame(
        {
            "number": there[TRIAL].map(numbers).astype("int64"),
            "step": there[STEP].astype("int64"),
            "value": there[value].astype("float64"),
        }
    )
    return found.drop_duplicates(["number", "step"], keep="last").sort_values(["number", "step"], ignore_index=True)


def check_unit(frame: pd.DataFrame, given: Columns, *, source: str) -> None:
    """Check that rows with one trial's name belong to one trial.

    Raises:
        UserError: a trial's name appears in several rows, and no column counts steps.
    """
    names = {str(c).lower(): str(c) for c in frame.columns}
    taken = {*given.params, *given.value, *given.mapping.values()}
    for name in IDS:
        column = names.get(name)
        if column is None or column in taken or pd.api.types.is_numeric_dtype(frame[column]):
            continue  # repeated trial numbers are rejected later, by ForeignStudy
        keys = [names[one] for one in (*GROUPS, *_SEEDS) if one in names]
        again = frame[frame[column].notna() & frame.duplicated([*keys, column], keep=False)]
        if len(again) and frame[column].nunique() > 1:
            first = again[column].iloc[0]
            rows = [str(i + 1) for i in range(len(frame)) if frame[column].iloc[i] == first]
            raise UserError(
                f"{source}: {shown(first)} appears {len(rows)} times in column '{column}' (rows "
                f"{', '.join(rows[:5])}), but no column such as 'epoch' or 'step' counts steps; "
                f"--ignore {column} if each row is a trial"
            )
