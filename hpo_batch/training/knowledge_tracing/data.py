"""Sequences of responses: from a table of them in ASSISTments' columns, or simulated; neither is downloaded.

A student is in one of training, validation and test set, whatever the trial's seed. torch and pandas are imported where
they are used, because the torch-free parameter count asks here for the number of skills.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

from hpo_batch.text.lines import short
from hpo_batch.text.numbers import count
from hpo_batch.training.parameters import one_of, read_known, real, text, whole
from hpo_batch.training.tables import located, quoted, read_table, version

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray
    from torch import Tensor

    Sequences: TypeAlias = "list[tuple[NDArray[np.int64], NDArray[np.int64]]]"

log = logging.getLogger(__name__)
SIMULATED = "simulated"
LEAST = 3
"""Responses in a sequence; shorter ones are left out, as in pykt."""


@dataclass(frozen=True, kw_only=True)
class Responses:
    """Sequences of one set, filled up with zeros behind their ends; all on one device."""

    skills: Tensor  # (N, T) int64, from 0
    responses: Tensor  # (N, T) int64, 1 is right
    is_real: Tensor  # (N, T - 1) bool: whether there is a response to predict
    n_predicted: Tensor  # (N,) int64, its sums; on the CPU, where batches are made


@dataclass(frozen=True, kw_only=True)
class Dataset:
    n_skills: int
    train: Responses
    val: Responses
    test: Responses | None


@dataclass(frozen=True, kw_only=True)
class DataOptions:
    """Where the responses come from, and how students are divided."""

    data: str = text(SIMULATED)
    """"simulated", or the path of a .csv or .parquet file (relative to the working directory), a row per response."""
    user_column: str = text("user_id")
    skill_column: str = text("skill_id")
    correct_column: str = text("correct")
    """0 or 1."""
    partial: str = one_of("refuse", "drop")
    """What becomes of a table with other responses, such as the partial credit in ASSISTments 2015; "drop": these rows
    are left out, as in pykt."""
    order_column: str = text("order_id")
    """Sorts the responses of a student; "row": as they stand in the file."""
    n_skills: int = whole(0, at_least=0)
    """How many skills there must be; 0: not checked. Lets parameters be counted where the file is not. Simulated: how
    many there are (20 if 0)."""
    seq_len: int = whole(200, at_least=LEAST)
    """Longest sequence; a student with more responses has several, as in pykt."""
    val_ratio: float = real(0.2, above=0.0, below=1.0)
    """Share of the students in the validation set."""
    test_ratio: float = real(0.0, at_least=0.0, below=1.0)
    """Share of the students in the test set; 0: there is none."""
    data_seed: int = whole(42, at_least=0)
    """Of the division of students, and of the simulator: the same for all trials."""
    n_students: int = whole(600, at_least=3)
    n_responses: int = whole(40, at_least=LEAST)
    """Of a simulated student, on average."""


TABLE_ONLY = frozenset({"user_column", "skill_column", "correct_column", "order_column", "partial"})
SIMULATED_ONLY = frozenset({"n_students", "n_responses"})


def count_skills(options: DataOptions) -> int:
    """Reads the file only if the options do not say."""
    if options.data == SIMULATED:
        return options.n_skills or 20
    return options.n_skills or _sequences(options)[0]


def load(options: DataOptions, device: str = "cpu") -> Dataset:
    """Training, validation and test set; a ValueError says what is wrong with the data and what to do."""
    import numpy as np

    n_skills, students = _sequences(options)
    if options.n_skills not in (0, n_skills):
        raise ValueError(f"'{options.data}' has {n_skills} skills, but n_skills = {options.n_skills}")
    order = np.random.default_rng(options.data_seed).permutation(len(students))
    n_val, n_test = (round(ratio * len(students)) for ratio in (options.val_ratio, options.test_ratio))
    if not n_val or n_val + n_test >= len(students) or (options.test_ratio and not n_test):
        raise ValueError(
            f"too few students in '{options.data}': {len(students)} with at least {LEAST} responses cannot be divided "
            f"with val_ratio = {options.val_ratio:g} and test_ratio = {options.test_ratio:g}"
        )
    longest = min(options.seq_len, max(len(skills) for skills, _ in students))

    def responses(chosen: NDArray[np.int64], name: str) -> Responses:
        return _responses([students[i] for i in chosen], longest, device, f"{name} set of '{options.data}'")

    return Dataset(
        n_skills=n_skills,
        train=responses(order[n_val + n_test :], "training"),
        val=responses(order[:n_val], "validation"),
        test=responses(order[n_val : n_val + n_test], "test") if n_test else None,
    )


def preload(fixed: Mapping[str, object]) -> None:
    """Read what `load` keeps in memory, for `[objective] preload`; from a sweep's fixed parameters."""
    _sequences(read_known(DataOptions, fixed))


def _responses(students: Sequences, longest: int, device: str, name: str) -> Responses:
    import numpy as np
    import torch

    pieces = [
        (skills[start : start + longest], right[start : start + longest])
        for skills, right in students
        for start in range(0, len(skills), longest)
        if len(skills) - start >= LEAST
    ]
    padded = np.zeros((2, len(pieces), longest), dtype=np.int64)
    for row, piece in enumerate(pieces):
        padded[:, row, : len(piece[0])] = piece
    lengths = np.array([len(skills) for skills, _ in pieces])
    is_real = np.arange(1, longest) < lengths[:, None]
    right = int(padded[1, :, 1:][is_real].sum())
    if right in (0, int(is_real.sum())):
        raise ValueError(
            f"all {is_real.sum()} responses to predict in the {name} are {'right' if right else 'wrong'}: no model can "
            "learn or be judged on one class; use more students, or look at the column of responses"
        )
    return Responses(
        skills=torch.tensor(padded[0], device=device),
        responses=torch.tensor(padded[1], device=device),
        is_real=torch.tensor(is_real, device=device),
        n_predicted=torch.tensor(lengths - 1),
    )


def _sequences(options: DataOptions) -> tuple[int, Sequences]:
    """The number of skills, and of each student with enough responses their skills and whether they were right."""
    if options.data == SIMULATED:
        n_skills = count_skills(options)
        return n_skills, simulate(
            seed=options.data_seed,
            n_skills=n_skills,
            n_students=options.n_students,
            n_responses=options.n_responses,
        )
    path = located(options.data)
    columns = (options.user_column, options.skill_column, options.correct_column, options.order_column)
    is_partial = options.partial == "drop"
    return _of_table(path, columns, is_partial, _version=version(path, f"'data' is \"{SIMULATED}\" or"))


@lru_cache(maxsize=2)
def _of_table(
    path: Path, columns: tuple[str, str, str, str], is_partial: bool, *, _version: tuple[int, int]
) -> tuple[int, Sequences]:
    import pandas as pd

    user, skill, correct, order = columns
    frame = _checked(read_table(path), path, columns, is_partial=is_partial)
    codes, skills = pd.factorize(frame[skill], sort=True)
    frame = frame.assign(_skill=codes, _right=pd.to_numeric(frame[correct]).astype("int64"))
    if order != "row":
        frame = frame.assign(_order=_sortable(frame[order], path)).sort_values([user, "_order"], kind="stable")
    students = [
        (of_student["_skill"].to_numpy("int64"), of_student["_right"].to_numpy("int64"))
        for _, of_student in frame.groupby(user, sort=True)
        if len(of_student) >= LEAST
    ]
    if not students:
        n_users = frame[user].nunique()
        raise ValueError(
            f"no student in '{path}' has {LEAST} responses or more: {count(len(frame), 'row')} of "
            f"{count(n_users, 'student')} in column '{user}'"
        )
    return len(skills), students


def _checked(frame: pd.DataFrame, path: Path, columns: tuple[str, str, str, str], *, is_partial: bool) -> pd.DataFrame:
    import pandas as pd

    user, skill, correct, order = columns
    used = [user, skill, correct, *([order] if order != "row" else [])]
    if missing := [name for name in used if name not in frame.columns]:
        raise ValueError(
            f"'{path}' has no column {quoted(missing)}; it has {quoted(frame.columns)}: "
            "set user_column, skill_column, correct_column or order_column"
        )
    if (empty := frame[used].isna()).any(axis=None):
        first = int(empty.any(axis=1).to_numpy().argmax())
        where = quoted(column for column in used if empty[column].any())
        raise ValueError(
            f"'{path}' has {count(int(empty.any(axis=1).sum()), 'row')} with an empty {where}, the first is row "
            f"{first + 1}; drop those rows"
        )
    right = frame[correct]
    is_other = ~pd.to_numeric(right, errors="coerce").isin([0, 1])
    if is_partial and is_other.any():
        log.info("%d of %d responses are neither 0 nor 1, and left out", is_other.sum(), len(frame))
        return frame[~is_other]
    if is_other.any():
        other = sorted(set(right[is_other].unique()), key=str)
        raise ValueError(
            f"column '{correct}' of '{path}' must be 0 or 1, and has {quoted(other[:3])} ("
            f'{count(int(is_other.sum()), "row")} of {len(frame):,}); drop these rows, or set partial = "drop"'
        )
    return frame


def _sortable(order: pd.Series[Any], path: Path) -> pd.Series[Any]:
    """Numbers or times: as texts, 10 would come before 9.

    Raises:
        ValueError: it has others.
    """
    import pandas as pd

    if not pd.api.types.is_object_dtype(order) and not pd.api.types.is_string_dtype(order):
        return order
    texts = order.astype(str)
    if texts.str.fullmatch(r"\d+").all():
        return texts.map(int)  # too large for 64 bits
    numbers = pd.to_numeric(texts, errors="coerce")
    if not numbers.isna().any():
        return numbers
    times = pd.to_datetime(texts, format="ISO8601", errors="coerce", utc=True)
    if not times.isna().any():
        return times
    unknown = texts[numbers.isna() & times.isna()]
    shown = repr(short(unknown.iloc[0] if len(unknown) else texts.iloc[0], 40))
    raise ValueError(
        f"column '{order.name}' of '{path}' must hold numbers, or times such as 2012-09-28 15:11:25, and has {shown}; "
        'clean it, or set order_column = "row" if the rows are in order'
    )


@lru_cache(maxsize=2)
def simulate(*, seed: int, n_skills: int, n_students: int, n_responses: int) -> Sequences:
    """Students who learn: item response theory with a level that grows with practice.

    A student's level in a skill is theta + g log(1 + n), with theta and log(g / 0.4) / 0.5 of N(0, 1) and n earlier
    responses to the skill. A response is right with probability 0.1 + 0.9 logistic(a (level - b)), with b of N(0, 1)
    and log a of N(0, 0.3^2) for each skill (three-parameter logistic model, Birnbaum 1968). A student goes on with a
    skill with probability 0.7, else to one at random.
    """
    import numpy as np

    random = np.random.default_rng(seed)
    difficulty, discrimination = random.normal(size=n_skills), np.exp(0.3 * random.normal(size=n_skills))
    students = []
    for _ in range(n_students):
        theta, gain = random.normal(), 0.4 * np.exp(0.5 * random.normal())
        n = int(random.integers(max(LEAST, n_responses // 2), n_responses * 3 // 2 + 1))
        moves = random.random(n) > 0.7
        moves[0] = True
        skills = random.integers(n_skills, size=n)[np.maximum.accumulate(np.where(moves, np.arange(n), 0))]
        earlier = np.tril(skills[:, None] == skills, k=-1).sum(axis=1)
        level = theta + gain * np.log1p(earlier)
        p = 0.1 + 0.9 / (1 + np.exp(-discrimination[skills] * (level - difficulty[skills])))
        students.append((skills, (random.random(n) < p).astype(np.int64)))
    return students
