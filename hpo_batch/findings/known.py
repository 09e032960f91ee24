"""What a person knows beside the trials. Without the libraries of the analysis: commands need it before they read."""

from __future__ import annotations

from dataclasses import dataclass

from hpo_batch.errors import UserError


@dataclass(frozen=True, kw_only=True)
class Known:
    """What a person knows beside the trials.

    Raises:
        UserError: more positive cases than cases, or positive ones alone.
    """

    n_eval: int | None = None
    """cases that the metric was computed on, where trials do not report it"""
    n_pos: int | None = None
    """positive ones among them"""
    baseline: float | None = None
    """the metric of a baseline that is not among the trials"""

    def __post_init__(self) -> None:
        if self.n_pos is not None and (self.n_eval is None or self.n_pos >= self.n_eval):
            raise UserError("--n-pos counts some of the cases of --n-eval: give both, the first smaller")
