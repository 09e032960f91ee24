"""``hpo-batch ledger``: how good past advice was."""

from __future__ import annotations

from pathlib import Path

import click

from hpo_batch.cli.options import logs_root, root_option
from hpo_batch.errors import Exit, UserError
from hpo_batch.files import shown_json
from hpo_batch.store.home import StudyHome, all_homes, find_homes
from hpo_batch.sweep.name import name_in_toml


@click.command(name="ledger")
@click.argument("studies", nargs=-1, metavar="[STUDY ...|FOLDER]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, described in docs/methods.md.")
@root_option
def command(studies: tuple[str, ...], as_json: bool, root: Path | None) -> int:
    """Show what refine, propose and confirm predicted of each STUDY, and what came (default: all studies).

    Probabilities are scored by the Brier score, beside that of their base rate, intervals by how many of them held. A
    study keeps what was predicted of it when it starts: a prediction that is changed later is noticed and not scored.
    FOLDER is a logs directory.
    """
    homes = _homes(studies, logs_root(root))

    from hpo_batch.document.markdown import terminal
    from hpo_batch.findings.ledger.overview import overview, overview_document

    made = overview(homes)
    if made.text:
        click.echo(made.text, err=True)
    if as_json:
        click.echo(shown_json(made.as_json()))
    elif made.entries:
        click.echo(terminal(overview_document(made)), nl=False)
    return Exit.STORAGE if made.unreadable else Exit.OK


def _homes(studies: tuple[str, ...], root: Path) -> list[StudyHome]:
    """The studies that are meant.

    Raises:
        UserError: there are none.
    """
    if not studies:
        homes = list(all_homes(root))
        if not homes:
            raise UserError(f"no studies in {root}; name a study, or a logs directory with --root")
        return homes
    found: dict[Path, StudyHome] = {}
    for study in studies:
        for home in _of_folder(study, root) or find_homes(root, _name(study)):
            found.setdefault(home.path, home)
    return list(found.values())


def _name(study: str) -> str:
    return name_in_toml(study) if study.endswith(".toml") else study


def _of_folder(study: str, root: Path) -> list[StudyHome]:
    """The studies of a logs directory; none if it is something else."""
    folder = Path(study).resolve()
    if not folder.is_dir() or (folder != root and (root / study).is_dir()):
        return []
    return [] if StudyHome(path=folder, name=folder.name).exists else list(all_homes(folder))
