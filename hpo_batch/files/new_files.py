"""Writes several new files together."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from hpo_batch.errors import StorageError, UserError
from hpo_batch.files.write import write_new


def write_files(files: Mapping[Path, str]) -> None:
    """Write new files, all or none.

    Args:
        files: path -> text; missing folders are made.

    Raises:
        UserError: one of them is there already; nothing is written.
        StorageError: one cannot be written.
    """
    for path in files:
        if path.exists() or path.is_symlink():
            raise UserError(f"'{path}' exists already; -o takes another name, or move the file away")
    written: list[Path] = []
    path = Path()
    try:
        for path, text in files.items():
            path.parent.mkdir(parents=True, exist_ok=True)
            write_new(path, text.encode())
            written.append(path)
    except OSError as error:
        for done in written:
            done.unlink(missing_ok=True)
        if isinstance(error, FileExistsError) and Path(error.filename) == path:
            raise UserError(f"'{path}' exists already; -o takes another name") from error
        raise StorageError.because(f"cannot write '{path}'", error, do="-o takes another folder") from error
