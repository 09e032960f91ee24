"""``python -m hpo_batch``: the same as the command ``hpo-batch``."""

from __future__ import annotations

from hpo_batch.cli.main import main

if __name__ == "__main__":
    main()
