"""Reads the study's name from a sweep file, without validating the file and without pydantic."""

from __future__ import annotations

from pathlib import Path

from hpo_batch.errors import UserError
from hpo_batch.text.names import did_you_mean, listed


def name_in_toml(path: str) -> str:
    """``[study] name`` of a sweep file.

    Raises:
        UserError: there is no such file, or no such key in it.
    """
    import tomli  # every command imports this module, and few commands are given a file

    try:
        # utf-8-sig: some editors write a byte order mark
        name = tomli.loads(Path(path).read_text(encoding="utf-8-sig"))["study"]["name"]
    except FileNotFoundError as error:
        raise no_file(Path(path)) from error
    except OSError as error:
        raise UserError(f"'{path}' is not a sweep file: {error.strerror}") from error
    except (KeyError, TypeError) as error:
        raise UserError(f"'{path}' is not a sweep file: it has no [study] name") from error
    except ValueError as error:
        raise UserError(f"'{path}' is not a sweep file: {error}") from error
    return str(name)


def no_file(path: Path) -> UserError:
    """That there is no such sweep file, and which there are in its folder."""
    names = sorted(one.name for one in path.parent.glob("*.toml") if one.name != "pyproject.toml")
    others = f"; its folder has {listed(names, most=4)}" if names else "; 'hpo-batch init' writes one"
    return UserError(f"no sweep file '{path}'{did_you_mean(path.name, names, otherwise=others)}")
