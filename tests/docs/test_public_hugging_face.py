"""A public script of Hugging Face, as its wheel has it, from a bare folder to a report: what a person types and edits.

It is trl/scripts/sft.py of TRL, of which nothing is kept here. Model, tokenizer and texts are tiny and made here: there
is no network.
"""

from __future__ import annotations

import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

WORDS = ["the", "cat", "dog", "sees", "likes", "big", "small", "red", "blue", "house", "tree", "and"]


@pytest.fixture
def folder(no_slurm: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    found = importlib.util.find_spec("trl")
    if found is None or found.origin is None:
        pytest.skip("needs trl, of the extra frameworks")
    place = tmp_path / "mine"
    place.mkdir()
    (place / "sft.py").write_text((Path(found.origin).parent / "scripts" / "sft.py").read_text())
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}")
    for name, value in {"HF_HUB_OFFLINE": "1", "HF_HOME": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}.items():
        monkeypatch.setenv(name, value)
    return place


def make_model(place: Path) -> None:
    """A GPT-2 of one layer: what its file does not have begins at random."""
    import numpy as np
    from safetensors.numpy import save_file
    from tokenizers import Tokenizer, models, pre_tokenizers

    vocabulary = {word: i for i, word in enumerate(["<unk>", "<end>", *WORDS])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    place.mkdir()
    tokenizer.save(str(place / "tokenizer.json"))
    special = {"unk_token": "<unk>", "eos_token": "<end>", "pad_token": "<end>"}
    (place / "tokenizer_config.json").write_text(json.dumps({"tokenizer_class": "PreTrainedTokenizerFast", **special}))
    sizes = {"vocab_size": len(vocabulary), "n_positions": 16, "n_embd": 8, "n_layer": 1, "n_head": 1}
    ends = {"bos_token_id": 1, "eos_token_id": 1}
    (place / "config.json").write_text(
        json.dumps({"architectures": ["GPT2LMHeadModel"], "model_type": "gpt2", **sizes, **ends})
    )
    save_file({"transformer.wte.weight": np.zeros((len(vocabulary), 8), np.float32)}, str(place / "model.safetensors"))


def make_texts(place: Path) -> None:
    place.mkdir()
    for split in ("train", "test"):
        texts = [" ".join(WORDS[(i + j) % len(WORDS)] for j in range(8)) for i in range(16)]
        (place / f"{split}.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))


def typed(line: str) -> subprocess.CompletedProcess[str]:
    """A command of ours, which must end well."""
    argv = [str(Path(sys.executable).with_name("hpo-batch")), *shlex.split(line)[1:]]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    return done


def edit(path: Path, told: str) -> None:
    """Do what init says: in the line that it names, and at the top."""
    lines = path.read_text().splitlines()
    number = int(re.findall(r"line (\d+),", told)[0]) - 1
    first, *others = re.findall(r"'([^']+)'", told)
    if first.startswith("callbacks="):
        lines[number] = lines[number].replace("Trainer(", f"Trainer({first}, ", 1)
    else:
        lines[number] = re.sub(r"train\(.*\)", first, lines[number])
    path.write_text("\n".join([*others, *lines]) + "\n")


@pytest.mark.timeout(400)  # four processes that import torch and transformers, on a machine that does much else
def test_the_fine_tuning_of_trl_ends_with_a_report(folder: Path) -> None:
    make_model(folder / "model")
    make_texts(folder / "texts")
    by_hand = "sft.py --model_name_or_path model --dataset_name texts --num_train_epochs 1 --bf16 False --use_cpu True"
    told = [line for line in typed(f'hpo-batch init --from "{by_hand}"').stderr.splitlines() if "to do: " in line]
    assert len(told) == 2, told
    for line in told:
        edit(folder / "sft.py", line)
    assert typed("hpo-batch check sweep.toml").stderr.endswith("sweep.toml: no mistakes\n")
    typed("hpo-batch submit sweep.toml --local --wait --trials 2 --set job.workers=1")
    (study,) = json.loads(typed("hpo-batch status --json").stdout)
    assert (study["trials"]["complete"], study["trials"]["failed"]) == (2, 0)
    typed("hpo-batch report")
    (report,) = Path("logs").rglob("report.html")
    assert report.stat().st_size > 10_000
    written = {path.name for path in folder.iterdir()}
    assert written == {"sft.py", "model", "texts", "sweep.toml", "logs"}  # nothing beside the study
