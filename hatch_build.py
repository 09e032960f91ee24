"""The README as PyPI shows it: its pictures and links lead to the repository, since PyPI has only this text.

``HPO_BATCH_REPOSITORY=https://github.com/OWNER/hpo-batch/raw/v0.2.0 python -m build`` says where that is. Without the
variable the text is taken as it stands.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface


class CustomMetadataHook(MetadataHookInterface):
    def update(self, metadata: dict[str, Any]) -> None:
        text = Path(self.root, "README.md").read_text(encoding="utf-8")
        place = os.environ.get("HPO_BATCH_REPOSITORY", "").rstrip("/")
        if place:
            text = re.sub(r"\]\((?!https?:|#)([^)\s]+)\)", rf"]({place}/\1)", text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
