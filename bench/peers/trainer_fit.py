"""Hugging Face's Trainer as its course has it, DataCollatorWithPadding and all. Run by bench/text.py in the peer's venv.

python trainer_fit.py FOLDER MODEL SEED [best]   FOLDER/rows.json: for each part the sentences and the classes
"""

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import spawned
import torch
from transformers import AutoModelForSequenceClassification, AutoTokenizer, DataCollatorWithPadding, Trainer, TrainingArguments

folder, path, seed, *more = sys.argv[1:]
tokenizer = AutoTokenizer.from_pretrained(path)
parts = []
for sentences, classes in json.loads(Path(folder, "rows.json").read_text(encoding="utf-8")):
    ids = tokenizer(sentences, truncation=True)
    parts.append([{"input_ids": a, "attention_mask": b, "labels": c} for a, b, c in zip(ids["input_ids"], ids["attention_mask"], classes)])  # noqa: B905
train, valid, test = parts
best = {"bf16": True, "train_sampling_strategy": "group_by_length"} if more else {}
with tempfile.TemporaryDirectory() as out:
    settings = TrainingArguments(
        out, num_train_epochs=1, per_device_train_batch_size=32, per_device_eval_batch_size=32, learning_rate=5e-5, weight_decay=0.01,
        warmup_steps=0.1, lr_scheduler_type="cosine", seed=int(seed), eval_strategy="epoch", save_strategy="no", report_to="none",
        disable_tqdm=True, logging_strategy="no", use_cpu=True, **best,
    )  # fmt: skip
    trainer = Trainer(
        AutoModelForSequenceClassification.from_pretrained(path, num_labels=2), settings, DataCollatorWithPadding(tokenizer), train, valid,
        compute_metrics=lambda told: {"accuracy": float(np.mean(told.predictions.argmax(1) == told.label_ids))},
    )  # fmt: skip
    seconds = trainer.train().metrics["train_runtime"]  # with the validation at its end, as luban's has it
    found = trainer.evaluate(test)["eval_accuracy"]
spawned.tell(train_seconds=seconds, test=found, threads=torch.get_num_threads())
