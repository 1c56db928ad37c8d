"""Lightning modules and Hugging Face models by `asgd run`: a line in a file, two workers, and they learn."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.users.jobs import run_spec, write

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

LIT = """
    import torch, torch.nn.functional as F, pytorch_lightning as pl
    from torch import nn
    from torch.utils.data import DataLoader, TensorDataset
    from asgd.integrations import lightning

    class Lit(pl.LightningModule):
        def __init__(self):
            super().__init__()
            self.net = nn.Sequential(nn.Linear(4, 16), nn.Tanh(), nn.Linear(16, 2))
        def training_step(self, batch, batch_idx):
            loss = F.cross_entropy(self.net(batch[0]), batch[1])
            self.log("train_loss", loss)
            return loss
        def validation_step(self, batch, batch_idx):
            self.log("val_acc", (self.net(batch[0]).argmax(1) == batch[1]).float().mean())
        def configure_optimizers(self):
            optimizer = torch.optim.AdamW(self.parameters(), lr=0.02)
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 5, 0.5)]

    x = torch.randn(400, 4)
    data = TensorDataset(x, (x.sum(1) > 0).long())
    task = lightning.task(Lit(), DataLoader(data, 16, shuffle=True), DataLoader(data, 100))
"""
BERT = """
    import torch, datasets
    from transformers import BertConfig, BertForSequenceClassification, TrainingArguments
    from asgd.integrations import huggingface

    words = torch.randint(1, 20, (400, 6))
    data = datasets.Dataset.from_dict({"input_ids": words.tolist(), "label": (words[:, 0] > 10).long().tolist()})
    config = BertConfig(vocab_size=20, hidden_size=16, num_hidden_layers=1, num_attention_heads=2,
                        intermediate_size=32, max_position_embeddings=8)
    args = TrainingArguments("hf", per_device_train_batch_size=16, num_train_epochs=8, learning_rate=5e-3,
                             warmup_steps=10, report_to=[], use_cpu=True)

    def accuracy(found):
        return {"accuracy": (found.predictions.argmax(-1) == found.label_ids).mean()}

    task = huggingface.task(BertForSequenceClassification(config), data, data, args=args, compute_metrics=accuracy)
"""


def test_two_workers_train_a_lightning_module(tmp_path: Path) -> None:
    write(tmp_path, lit=LIT)
    spec = {
        "entrypoint": "lit.py:task",
        "batchSize": 16,
        "stopAfter": {"epochs": 15},
        "workers": {"replicas": 2},
    }
    ran = run_spec(tmp_path, spec)
    assert ran.code == 0, ran.said
    assert ran.summary["metrics"]["val_acc"] > 0.9
    assert ran.summary["optimizer"] == "AdamW of the task, run on the servers (1 group)"
    assert "train_loss" in ran.summary["scalars"]


def test_two_workers_train_a_hugging_face_model(tmp_path: Path) -> None:
    write(tmp_path, bert=BERT)
    spec = {
        "entrypoint": "bert.py:task", "batchSize": 16, "stopAfter": {"epochs": 8}, "workers": {"replicas": 2},
        "optimizer": {"clipNorm": 1.0},
    }  # fmt: skip
    ran = run_spec(tmp_path, spec)
    assert ran.code == 0, ran.said
    assert ran.summary["metrics"]["eval_accuracy"] > 0.9
    assert ran.summary["optimizer"] == "AdamW of the task, run on the servers (2 groups)"
