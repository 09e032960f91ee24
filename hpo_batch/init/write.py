"""``hpo-batch init``: writes a first sweep, from a starter or from a script's options, and asks nothing."""

from __future__ import annotations

import ast
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from hpo_batch import processes
from hpo_batch.errors import HpoBatchError
from hpo_batch.files import write_files
from hpo_batch.init.hugging_face import for_trainer
from hpo_batch.init.metric import Metric, guess
from hpo_batch.init.modules import local_modules, parsed
from hpo_batch.init.needs import needs, with_needs
from hpo_batch.init.option import Script
from hpo_batch.init.propose import propose
from hpo_batch.init.script import read_script
from hpo_batch.init.site import site_template
from hpo_batch.init.sweep_text import found_in_output, job_template, next_steps, study_name, sweep_text
from hpo_batch.init.typed import read_typed, with_typed
from hpo_batch.scheduler.gpus import local_gpus
from hpo_batch.shipped import shipped
from hpo_batch.text.metric_names import direction_of

STARTERS: Final[Mapping[str, str]] = {
    "function": "a Python function",
    "command": "a script with argparse",
    "hydra": "a Hydra application",
    "lightning": "a training with PyTorch Lightning",
    "hf": "a training with the Trainer of Hugging Face",
    "sklearn": "a model of scikit-learn",
}
"""folders of ``starters/``"""
_LIBRARIES: Final = {
    "hydra": ("hydra", "hydra-core"),
    "lightning": ("lightning", "lightning"),
    "hf": ("transformers", "transformers accelerate"),
    "sklearn": ("sklearn", "scikit-learn"),
}
"""what a starter imports, and the packages that bring it"""
SWEEP: Final = "sweep.toml"
_LOOK_S: Final = 30.0
"""for Python to look for a package, also on a busy file server"""


@dataclass(frozen=True, kw_only=True)
class Started:
    """What init has made, before it is written."""

    sweep: Path
    files: Mapping[Path, str]
    notes: tuple[str, ...]
    steps: tuple[str, ...]
    """what is left to do before the sweep runs"""

    def write(self) -> None:
        """Write all files, or none.

        Raises:
            UserError: one of them is there already.
            StorageError: one cannot be written.
        """
        write_files(self.files)


def from_starter(kind: str, *, sweep: Path, environ: Mapping[str, str]) -> Started:
    """A sweep, a training script and a job template to begin with.

    Args:
        kind: one of ``STARTERS``.
        sweep: the sweep's path; everything else goes beside it.
        environ: variables of this process.
    """
    folder, beside = shipped("starters") / kind, sweep.parent
    template, note = site_template(environ)
    files: dict[Path, str] = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if not path.is_file() or "__pycache__" in relative.parts:
            continue
        text = path.read_text(encoding="utf-8")
        if str(relative) != SWEEP:
            files[beside / relative] = text
            continue
        text = text.replace("NAME", study_name(beside, None), 1).replace("PYTHON ", f"{interpreter()} ", 1)
        files[sweep] = text.replace("# TEMPLATE", job_template(template.name if template else None), 1)
    if template is not None:
        files[beside / "job_templates" / f"{template.name}.toml"] = template.text
    lacks = [_lacks_us(interpreter())] if "command = " in files[sweep] else []
    library = _LIBRARIES.get(kind)
    if library is not None and _is_missing(library[0], python=interpreter()):
        lacks.append(f"the script needs {library[0]}, which '{interpreter()}' cannot import: pip install {library[1]}")
    return Started(sweep=sweep, files=files, notes=(note,), steps=tuple(text for text in lacks if text))


def from_script(
    named: str, *, sweep: Path, environ: Mapping[str, str], tell: Callable[[str], None] = lambda _: None
) -> Started:
    """A sweep of a script, and a job template.

    Args:
        named: the script's path, or the command that runs it by hand.
        sweep: the sweep's path.
        environ: variables of this process.
        tell: is told what takes long, before it begins.

    Raises:
        UserError: there is no such script, or its options cannot be found.
    """
    typed = read_typed(named)
    path, python = typed.script, typed.python or interpreter()
    read = read_script(path, subcommand=typed.subcommand, python=python, typed=typed, tell=tell)
    script = with_needs(with_typed(for_trainer(read, typed), typed), exists=_exists)
    tree = parsed(path, script.text)
    metric = _metric(script, tree)
    proposal = propose(script, python=python)
    template, note = site_template(environ)
    study = study_name(path.absolute().parent, path)
    name = template.name if template else None
    files = {sweep: sweep_text(script, proposal, metric, study=study, template=name)}
    if template is not None:
        files[sweep.parent / "job_templates" / f"{template.name}.toml"] = template.text
    steps = tuple(next_steps(script, metric, proposal))
    steps += tuple(needs(script, has_gpu=bool(local_gpus(environ)), exists=_exists))
    is_printed = metric is not None and bool(metric.labels)
    lacks = "" if "RESULT:" in script.text or is_printed else _lacks_us(python)
    steps += (lacks,) if lacks else ()
    found = (found_in_output(script, metric),) if metric is not None and is_printed else ()
    return Started(sweep=sweep, files=files, notes=(*script.notes, *found, note), steps=steps)


def interpreter() -> str:
    """How commands start Python: by its usual name, where that is on PATH."""
    return next((name for name in ("python", "python3") if processes.exists(name)), sys.executable)


def _metric(script: Script, tree: ast.Module) -> Metric | None:
    """The metric of a script, by its source and by what its configuration optimizes."""
    found = guess(tree, tuple(local_modules(script.path, tree)))
    if script.metric and (found is None or not found.is_reported):
        callback = found.callback if found is not None else ""
        direction = direction_of(script.metric)
        found = Metric(name=script.metric, direction=direction, is_reported=False, callback=callback)
    if found is None:
        return None
    if any("LightningCallback" in word for word in script.given):
        found = replace(found, callback="", is_reported=True)  # the command adds it
    default = "minimize" if found.is_returned else None  # of all of Hydra's sweepers
    return replace(found, direction=script.direction or found.direction or default)


def _exists(path: str) -> bool:
    return Path(path).expanduser().exists()


def _is_missing(module: str, *, python: str) -> bool:
    """Whether an interpreter surely cannot import a module."""
    look = f"import sys, importlib.util as u; sys.exit(u.find_spec('{module}') is None)"
    try:
        # elsewhere: what lies in this folder is not what is installed
        done = processes.run([python, "-c", look], timeout_s=_LOOK_S, cwd=Path("/"))
    except HpoBatchError:
        return False
    return done.returncode == 1 and not done.stderr


def _lacks_us(python: str) -> str:
    """What to do if scripts cannot import hpo_batch, as after ``pipx install``; empty if they can, or nobody knows."""
    if not _is_missing("hpo_batch", python=python):
        return ""
    return (
        f"'{python}' cannot import hpo_batch: install hpo-batch into its environment too, or let the script print a "
        "line 'RESULT: val_loss=0.31' at its end instead of reporting"
    )
