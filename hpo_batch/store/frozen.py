"""Reads the frozen sweep of a revision as plain JSON, for readers that must not import pydantic. No validation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hpo_batch.files import decode, read_regular
from hpo_batch.store.home import StudyHome


def read_frozen(home: StudyHome, revision: int) -> Mapping[str, Any] | None:
    """The tables of the sweep by name; None if the file is missing, unreadable or damaged."""
    try:
        return decode(read_regular(home.revision(revision)), dict[str, Any])
    except (OSError, ValueError):
        return None


def setting(frozen: Mapping[str, Any] | None, table: str, key: str, default: Any) -> Any:
    """A key of a table, or ``default`` if it is missing."""
    inside = (frozen or {}).get(table)
    return inside.get(key, default) if isinstance(inside, dict) else default
