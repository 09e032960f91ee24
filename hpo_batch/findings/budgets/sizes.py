"""How large the models of a study are: recorded parameter counts, else the weights of a transformer's layers."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

from hpo_batch.findings.model.arrays import joint
from hpo_batch.findings.model.frame import Data
from hpo_batch.records import Value

COUNTS: Final = ("n_params", "params_count", "num_params", "n_parameters", "parameter_count")
_WIDTH: Final = ("d_model", "hidden_size")
_LAYERS: Final = ("n_layers", "num_layers", "num_encoder_blocks")
_INNER: Final = ("d_ff", "ffn_dim")
_RATIO: Final = "d_ff_ratio"
_OF_WEIGHTS: Final = (*_WIDTH, *_LAYERS, *_INNER, _RATIO)
_NUMBER: Final = re.compile(r"^(\d+(?:\.\d+)?)\s*([kKmMbBgG]?)$")
_UNITS: Final = {"": 1.0, "k": 1e3, "m": 1e6, "b": 1e9, "g": 1e9}


def parameter_counts(data: Data) -> tuple[tuple[int, int] | None, str]:
    """Smallest and largest parameter count of the models tried, and where it comes from."""
    counts = data.column(*COUNTS)
    if counts is None:
        known = next((data.by_name[name] for name in COUNTS if name in data.by_name), None)
        counts = known.positions if known is not None and known.numeric and not known.log else None
    if counts is not None and np.isfinite(counts).any():
        return (int(np.nanmin(counts)), int(np.nanmax(counts))), "recorded"
    estimated = [_encoder_weights(data.configuration(i)) for i in _different(data, _OF_WEIGHTS)]
    known_ones = [n for n in estimated if n is not None]
    if known_ones and len(known_ones) == len(estimated):
        return (min(known_ones), max(known_ones)), "estimated: weights of the transformer's layers alone"
    return None, "not recorded"


def _encoder_weights(params: Mapping[str, Value]) -> int | None:
    """Attention and feed-forward matrices of ``n_layers`` transformer layers; None if this is none."""
    width, layers, inner = (_whole(params, *names) for names in (_WIDTH, _LAYERS, _INNER))
    ratio = params.get(_RATIO)
    if inner is None and width is not None and isinstance(ratio, int | float):
        inner = round(width * ratio)
    if width is None or layers is None or inner is None:
        return None
    return layers * (4 * width * width + 2 * width * inner)


def _whole(params: Mapping[str, Value], *names: str) -> int | None:
    values = (params.get(name) for name in names)
    return next((int(v) for v in values if isinstance(v, int | float) and not isinstance(v, bool)), None)


def size_of(label: str) -> float | None:
    """``20M`` as a number, also as a word of a longer label."""
    for word in re.split(r"[\s_/:-]+", label):
        match = _NUMBER.match(word)
        if match and match.group(2):
            return float(match.group(1)) * _UNITS[match.group(2).lower()]
    return None


def _different(data: Data, names: Sequence[str]) -> list[int]:
    """A row for each combination of these parameters."""
    result = np.zeros(data.n, dtype=np.int64)
    for name in names:
        if name in data.by_name:
            result = joint(result, data.by_name[name].codes + 1)
    rows: list[int] = np.unique(result, return_index=True)[1].tolist()
    return rows
