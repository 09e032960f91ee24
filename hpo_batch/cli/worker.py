"""``hpo-batch worker``: work on a study in the foreground. Local workers are started by this command too."""

from __future__ import annotations

import os
from pathlib import Path

import click

from hpo_batch.cli.options import check_trusted, logs_root, one_study, root_option


@click.command(name="worker")
@click.argument("study")
@root_option
def command(study: str, root: Path | None) -> int:
    """Work on STUDY until nothing is left for this worker. Ctrl-C gives the running trial back; twice ends at once."""
    from hpo_batch.worker.entry import run_worker

    home = one_study(study, logs_root(root))
    # the objective of the study runs in this process
    check_trusted([home], root=root, study=study)
    return run_worker(home, os.environ)
