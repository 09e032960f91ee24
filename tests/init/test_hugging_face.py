"""Scripts for the Trainer of Hugging Face, whose options TrainingArguments declares."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from hpo_batch.init import script as scripts
from hpo_batch.init.help_text import parse
from hpo_batch.init.hugging_face import edits, for_trainer
from hpo_batch.init.option import Kind
from hpo_batch.init.propose import Proposal, propose
from hpo_batch.init.script import read_script
from hpo_batch.init.typed import read_typed, with_typed
from tests.init.test_traits import BEGIN, END, values

# as HfArgumentParser of Transformers 5.24 prints them
HELP = """
options:
  --model_name_or_path MODEL_NAME_OR_PATH, --model-name-or-path MODEL_NAME_OR_PATH
                        The model. (default: None)
  --dtype {auto,float32}
                        Override the default `torch.dtype`. (default: float32)
  --train_file TRAIN_FILE, --train-file TRAIN_FILE
                        The data. (default: None)
  --dropout DROPOUT     (default: 0.1)
  --streaming [STREAMING]
                        (default: False)
  --no_keep_linebreaks, --no-keep-linebreaks
                        (default: False)
  --keep_linebreaks [KEEP_LINEBREAKS], --keep-linebreaks [KEEP_LINEBREAKS]
                        (default: True)
  --output_dir OUTPUT_DIR, --output-dir OUTPUT_DIR
                        (default: None)
  --do_train [DO_TRAIN], --do-train [DO_TRAIN]
                        (default: False)
  --do_eval [DO_EVAL]   (default: False)
  --eval_strategy {no,steps,epoch}, --eval-strategy {no,steps,epoch}
                        When to evaluate. (default: no)
  --per_device_train_batch_size PER_DEVICE_TRAIN_BATCH_SIZE
                        (default: 8)
  --learning_rate LEARNING_RATE, --learning-rate LEARNING_RATE
                        (default: 5e-05)
  --weight_decay WEIGHT_DECAY
                        (default: 0.0)
  --adam_epsilon ADAM_EPSILON
                        (default: 1e-08)
  --num_train_epochs NUM_TRAIN_EPOCHS
                        (default: 3.0)
  --lr_scheduler_type {linear,cosine,cosine_with_restarts,polynomial,constant,constant_with_warmup,a,b,c,d,e}
                        (default: linear)
  --warmup_steps WARMUP_STEPS, --warmup-steps WARMUP_STEPS
                        Can be an integer (exact steps) or a float in [0, 1) (ratio of total steps). (default: 0)
  --label_smoothing_factor LABEL_SMOOTHING_FACTOR
                        (default: 0.0)
  --fp16 [FP16]         Enable it. (default: False)
  --save_strategy {no,steps,epoch,best}
                        (default: steps)
  --save_total_limit SAVE_TOTAL_LIMIT
                        (default: None)
  --seed SEED           (default: 42)
  --report_to REPORT_TO
                        Use 'none' for no integrations. (default: none)
  --disable_tqdm DISABLE_TQDM
                        (default: None)
  --lora_r LORA_R       (default: 16)
  --use_peft [USE_PEFT]
                        (default: False)
"""
SCRIPT = """
from dataclasses import dataclass
from transformers import HfArgumentParser, Trainer, TrainingArguments
@dataclass
class Mine:
    model_name_or_path: str = None
    train_file: str = None
    dropout: float = 0.1
    streaming: bool = False
    keep_linebreaks: bool = True
    dtype: str = None
trainer = Trainer(model=model, args=args)
trainer.train()
"""
TOLD = "--eval_strategy epoch --save_strategy epoch --save_total_limit 1 --report_to none --disable_tqdm True"
TRIALS = "--output_dir {checkpoint_dir} --seed {trial_seed} {args}"


def proposed(folder: Path, monkeypatch: pytest.MonkeyPatch, command: str, shown: str = HELP) -> Proposal:
    monkeypatch.setattr(scripts, "ask", lambda *_, **__: parse(shown))
    (folder / "train.py").write_text(SCRIPT)
    typed = read_typed(command)
    script = for_trainer(read_script(typed.script, subcommand=typed.subcommand, python="python"), typed)
    return propose(with_typed(script, typed), python="python")


def test_it_is_told_to_train_to_evaluate_and_to_save_where_the_next_attempt_looks(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = proposed(folder, monkeypatch, "train.py")
    marks = "--model_name_or_path FILL_IN_model_name_or_path --train_file FILL_IN_train_file"
    assert made.command == f"python train.py --do_train --do_eval {TOLD} {marks} {TRIALS}"


def test_of_its_options_those_are_searched_that_say_what_is_trained(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = proposed(folder, monkeypatch, "train.py")
    assert values(made) == {
        "dropout": {"low": 0.0, "high": 0.5},
        "per_device_train_batch_size": [4, 8, 16],
        "learning_rate": {"low": 5e-6, "high": 5e-4, "log": True},
        "weight_decay": {"low": 1e-4, "high": 0.3, "log": True},
        "lr_scheduler_type": ["linear", "cosine", "constant_with_warmup"],
        "warmup_steps": {"low": 0.0, "high": 0.2},
    }
    left = dict(made.left)
    assert left["--label_smoothing_factor"] == "changes eval_loss itself"
    assert left["--lora_r"] == "without --use_peft it does nothing"
    assert {"--streaming", "--keep_linebreaks", "--dtype"} <= left.keys()
    assert not {"--no_keep_linebreaks", "--fp16", "--adam_epsilon"} & left.keys()


def test_what_is_typed_holds(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    typed = (
        "--train_file d.csv --do_train --do_eval --eval_strategy steps --output_dir out --learning_rate 1e-3 --use_peft"
    )
    made = proposed(folder, monkeypatch, f"train.py {typed}")
    assert made.marks == ()
    kept = "--train_file d.csv --eval_strategy steps --use_peft --do_train --do_eval"
    told = "--save_total_limit 1 --report_to none --disable_tqdm True"
    assert made.command == f"python train.py {kept} {told} {TRIALS}"
    assert values(made)["learning_rate"] == {"low": 1e-4, "high": 1e-2, "log": True}
    assert values(made)["lora_r"] == [8, 16, 32]


def test_transformers_4_has_other_names(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shown = HELP.replace("--eval_strategy", "--evaluation_strategy").replace("float in [0, 1)", "number")
    shown += "  --warmup_ratio WARMUP_RATIO\n                        (default: 0.0)\n"
    made = proposed(folder, monkeypatch, "train.py --train_file d.csv", shown)
    assert "--evaluation_strategy epoch" in made.command
    assert values(made)["warmup_ratio"] == {"low": 0.0, "high": 0.2}
    assert "warmup_steps" not in made.parameters


def test_of_two_names_for_one_option_the_newer_is_told(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    both = HELP + "  --evaluation_strategy {no,steps,epoch}\n                        Deprecated. (default: None)\n"
    assert "--evaluation_strategy" not in proposed(folder, monkeypatch, "train.py", both).command
    made = proposed(folder, monkeypatch, "train.py --evaluation_strategy steps", both)
    assert "--eval_strategy" not in made.command
    assert "--save_strategy" not in made.command


def test_a_boolean_with_an_optional_value_is_no_list() -> None:
    kinds = {option.name: option.kind for option in parse(HELP).options}
    assert kinds["fp16"] is kinds["keep_linebreaks"] is Kind.BOOLEAN


def test_the_default_is_what_argparse_says_in_the_end() -> None:
    (dtype,) = (option for option in parse(HELP).options if option.name == "dtype")
    assert dtype.default == "float32"


def test_the_lines_to_edit() -> None:
    assert list(edits(ast.parse(SCRIPT), "train.py", "eval_loss")) == [
        "go on after an interruption: in train.py, line 13, write 'train(resume_from_checkpoint=callback.resume_from)'",
        "report eval_loss: in train.py, line 12, give the trainer 'callbacks=[callback := HuggingFaceCallback()]', and "
        "write 'from hpo_batch.integrations import HuggingFaceCallback' at the top",
    ]


@pytest.mark.parametrize(
    "resuming", ["trainer.train(resume_from_checkpoint=True)", "last = get_last_checkpoint(out)\ntrainer.train(last)"]
)
def test_a_script_that_looks_for_its_checkpoint_needs_the_callback_only(resuming: str) -> None:
    text = SCRIPT.replace("trainer.train()", resuming)
    (only,) = edits(ast.parse(text), "train.py", "eval_loss")
    assert "'callbacks=[HuggingFaceCallback()]'" in only


def test_a_script_of_diffusers_goes_on_from_its_latest_checkpoint(folder: Path) -> None:
    options = "".join(
        f"p.add_argument('--{one})\n"
        for one in (
            "output_dir', default='out'",
            "resume_from_checkpoint', type=str",
            "learning_rate', type=float, default=0.01",
            "allow_tf32', action='store_true'",
            "scale_lr', action='store_true'",
        )
    )
    (folder / "train.py").write_text(f"{BEGIN}{options}{END}if args.resume_from_checkpoint != 'latest': ...\n")
    made = propose(read_script(Path("train.py"), subcommand="", python="python"), python="python")
    assert made.command == "python train.py --output_dir {checkpoint_dir} --resume_from_checkpoint latest {args}"
    assert list(made.parameters) == ["learning_rate"]
