"""Validates options of samplers and pruners, so that mistakes are reported with their line.

The options are listed here because the loader does not import Optuna; a test compares them with Optuna's classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeAlias

from msgspec import Struct

from hpo_batch.records import Problem, is_finite
from hpo_batch.text.names import nearest
from hpo_batch.text.values import shown


class Kind(Struct, frozen=True, kw_only=True):
    """The valid values of an option."""

    words: str
    fits: Callable[[Any], bool]


# bool is a subclass of int: `popsize = true` must not count as 1
def whole(low: int) -> Kind:
    return Kind(
        words=f"an integer >= {low}", fits=lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= low
    )


def between(low: float, high: float) -> Kind:
    return Kind(words=f"a number from {low:g} to {high:g}", fits=lambda v: is_finite(v) and low <= v <= high)


def one_of(*names: str) -> Kind:
    return Kind(words=" or ".join(f'"{name}"' for name in names), fits=lambda v: v in names)


FLAG = Kind(words="true or false", fits=lambda v: isinstance(v, bool))
NUMBER = Kind(words="a number", fits=is_finite)
POSITIVE = Kind(words="a number above 0", fits=lambda v: is_finite(v) and v > 0)
NOT_NEGATIVE = Kind(words="a number >= 0", fits=lambda v: is_finite(v) and v >= 0)
STEPS_OR_AUTO = Kind(words='an integer >= 1 or "auto"', fits=lambda v: v == "auto" or whole(1).fits(v))
SHARE = between(0, 1)

# names and bounds as in optuna.pruners
Options: TypeAlias = Mapping[str, Kind]
COMPARING: Options = {"n_startup_trials": whole(0), "n_warmup_steps": whole(0), "interval_steps": whole(1)}
HALVING: Options = {"min_resource": whole(1), "reduction_factor": whole(2), "bootstrap_count": whole(0)}
PATIENT: Options = {"patience": whole(0), "min_delta": NOT_NEGATIVE}
PRUNER_OPTIONS: dict[str, Options] = {
    "none": {},
    "median": {**COMPARING, "n_min_trials": whole(1)},
    "percentile": {**COMPARING, "n_min_trials": whole(1), "percentile": between(0, 100)},
    "asha": {**HALVING, "min_early_stopping_rate": whole(0)},
    "hyperband": {**HALVING, "max_resource": STEPS_OR_AUTO},
    "threshold": {"lower": NUMBER, "upper": NUMBER, "n_warmup_steps": whole(0), "interval_steps": whole(1)},
    "wilcoxon": {"p_threshold": SHARE, "n_startup_steps": whole(0)},
    "patient": PATIENT,
}
ELSEWHERE = {"seed": "write [sampler] seed", "n_startup_trials": "write [sampler] startup_trials"}


def option_problems(
    table: str, owner: str, options: Mapping[str, Any], known: Options, elsewhere: Mapping[str, str]
) -> Iterator[Problem]:
    """Problems in the options of a sampler or pruner.

    Args:
        table: ``sampler`` or ``pruner``.
        owner: its name, for the message.
        options: as written.
        known: valid options.
        elsewhere: for options that are keys of a table, what to write instead.
    """
    for name, value in options.items():
        key = (table, "options", name)
        if name in known:
            if not known[name].fits(value):
                yield Problem(key=key, message=f"must be {known[name].words}, not {shown(value)}")
        elif name in elsewhere:
            yield Problem(key=key, message=f"{elsewhere[name]} instead")
        else:
            allowed = ", ".join(known) or "none"
            message = f"{owner} has no option '{name}'"
            yield Problem(key=key, message=message, allowed=allowed, guess=nearest(name, known))
