"""What the name of a metric says: whether it is a measurement at all, of what data, and which direction is better."""

from __future__ import annotations

import re
from typing import Final


def words(text: str) -> frozenset[str]:
    """The words of a text, for tables like those below."""
    return frozenset(text.split())


MEASURES: Final = words(
    "acc accuracy auc auroc auprc aupr roc ap map ndcg f1 fbeta precision recall sensitivity specificity kappa "
    "mcc iou dice r2 bleu rouge meteor score reward return fitness loss error err rmse mse mae mape nll logloss "
    "crossentropy perplexity ppl bpb bpc wer cer fid pred tp tn fp fn hits correct regret objective metric"
)
SPLITS: Final = words("train training val valid validation test eval evaluation dev holdout heldout")
_MAXIMIZE: Final = words(
    "acc accuracy auc auroc auprc aupr roc ap map ndcg f1 fbeta precision recall sensitivity specificity kappa "
    "mcc iou dice r2 bleu rouge meteor score reward return fitness hits correct"
)
_MINIMIZE: Final = words(
    "loss error err rmse mse mae mape nll logloss crossentropy perplexity ppl bpb bpc wer cer fid regret time "
    "seconds latency cost"
)


_OF_CLASSES: Final = words(
    "acc accuracy auc auroc auprc aupr roc ap f1 fbeta precision recall sensitivity specificity kappa mcc tp tn fp fn"
)


def is_of_classes(name: str) -> bool:
    """Whether only predictions of classes have this metric."""
    return bool({part for word in tokens(name) for part in (word, word.rstrip("0123456789"))} & _OF_CLASSES)


def tokens(name: str) -> list[str]:
    """The words of a column's name: ``valAUC_mean`` is ``val``, ``auc``, ``mean``."""
    parts = re.sub(r"([a-z])([A-Z])", r"\1_\2", name)  # split camelCase, but not AUC
    return [part for part in re.split(r"[^0-9a-zA-Z]+", parts.lower()) if part]


def direction_of(name: str) -> str | None:
    """``maximize`` or ``minimize`` if a metric's name implies it, else None."""
    words = [part for word in tokens(name) for part in (word, word.rstrip("0123456789"))]  # acc1, map50; but also f1
    negated = next((i for i, word in enumerate(words) if word in ("neg", "negative")), None)
    up, down = bool(set(words) & _MAXIMIZE), bool(set(words) & _MINIMIZE)
    if negated is not None and set(words[negated:]) & _MINIMIZE:  # scikit-learn: neg_mean_squared_error
        up, down = True, False
    # neither word, or words for both, as in loss_accuracy: the name does not decide
    return None if up == down else "maximize" if up else "minimize"
