"""Callbacks that report to hpo-batch and stop when it asks: Lightning, Hugging Face, Keras, XGBoost, LightGBM.

Each works in a command and in a function, and does nothing outside a sweep. Its library is imported when the callback
is, and not before: ``from hpo_batch.integrations import LightningCallback``.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hpo_batch.integrations.hugging_face import HuggingFaceCallback as HuggingFaceCallback
    from hpo_batch.integrations.keras import KerasCallback as KerasCallback
    from hpo_batch.integrations.lightgbm import LightGBMCallback as LightGBMCallback
    from hpo_batch.integrations.lightning import LightningCallback as LightningCallback
    from hpo_batch.integrations.xgboost import XGBoostCallback as XGBoostCallback

_HOMES = {
    "HuggingFaceCallback": "hpo_batch.integrations.hugging_face",
    "KerasCallback": "hpo_batch.integrations.keras",
    "LightGBMCallback": "hpo_batch.integrations.lightgbm",
    "LightningCallback": "hpo_batch.integrations.lightning",
    "XGBoostCallback": "hpo_batch.integrations.xgboost",
}
__all__ = ["HuggingFaceCallback", "KerasCallback", "LightGBMCallback", "LightningCallback", "XGBoostCallback"]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module 'hpo_batch.integrations' has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)
