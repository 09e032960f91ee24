"""Retry what a file system refuses for the moment, and turn its errors into ``StorageError``."""

from __future__ import annotations

import functools
import logging
import time
from collections.abc import Callable
from typing import Concatenate, ParamSpec, Protocol, TypeVar

from hpo_batch.errors import JournalCorrupt, StorageError, Superseded
from hpo_batch.store.home import StudyHome

log = logging.getLogger(__name__)

# exponential backoff between the tries of a claim or an end; about a minute in all
RETRY_PAUSES_S = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0, 32.0)


class _OfStudy(Protocol):
    home: StudyHome


Self = TypeVar("Self", bound=_OfStudy)
T = TypeVar("T")
P = ParamSpec("P")


def raises_storage_errors(method: Callable[Concatenate[Self, P], T]) -> Callable[Concatenate[Self, P], T]:
    """Make a method raise StorageError for any OSError: on NFS every file operation may fail."""

    @functools.wraps(method)
    def call(self: Self, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except OSError as error:
            raise StorageError.because(f"cannot use '{error.filename or self.home.path}'", error) from error

    return call


def patiently(what: str, attempt: Callable[[], T], *, only_transient: bool = False) -> T:
    """Call ``attempt``, and again after each of ``RETRY_PAUSES_S`` if it raises StorageError.

    Args:
        what: is attempted, for the log.
        only_transient: give up at once on errors that seldom go away, such as a missing permission.

    Raises:
        StorageError: from the last attempt, or from the first if waiting cannot help.
    """
    for pause in RETRY_PAUSES_S:
        try:
            return attempt()
        except (JournalCorrupt, Superseded):
            raise
        except StorageError as error:
            if only_transient and not error.transient:
                raise
            log.warning("%s: retrying in %g s: %s", what, pause, error)
            time.sleep(pause)
    return attempt()
