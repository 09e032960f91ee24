"""A small BERT for texts of digits with the Trainer of Hugging Face: replace model and data with your own."""

import torch
from transformers import BertConfig, BertForSequenceClassification, Trainer, TrainingArguments

import hpo_batch
from hpo_batch.integrations import HuggingFaceCallback


def rows(count: int, seed: int) -> list[dict]:
    """Sequences of digits, labelled by whether there are more even than odd ones."""
    digits = torch.randint(0, 10, (count, 16), generator=torch.Generator().manual_seed(seed))
    labels = ((digits % 2 == 0).sum(dim=1) > 8).long()
    return [{"input_ids": one, "labels": label} for one, label in zip(digits, labels, strict=True)]


def train(trial: hpo_batch.Trial) -> float | None:
    torch.set_num_threads(trial.cpus)
    arguments = TrainingArguments(
        output_dir=str(trial.checkpoint),  # where the next attempt looks for checkpoints
        learning_rate=trial.params["learning_rate"],
        per_device_train_batch_size=trial.params["batch_size"],
        num_train_epochs=3,
        eval_strategy="epoch",
        save_strategy="no",  # the callback saves when the trial is to stop
        seed=trial.seed % 2**32,
        report_to=[],
        disable_tqdm=True,
        use_cpu=trial.device == "cpu",
    )
    size = trial.params["hidden_size"]
    torch.manual_seed(trial.seed)
    config = BertConfig(
        vocab_size=10, hidden_size=size, num_hidden_layers=1, num_attention_heads=2, intermediate_size=2 * size
    )
    callback = HuggingFaceCallback()  # reports eval_loss after each epoch, and stops when the trial is to stop
    trainer = Trainer(
        model=BertForSequenceClassification(config), args=arguments, callbacks=[callback],
        train_dataset=rows(512, seed=0), eval_dataset=rows(128, seed=1),
    )  # fmt: skip
    trainer.train(resume_from_checkpoint=callback.resume_from)
    return None if trial.should_stop() else trainer.evaluate()["eval_loss"]
