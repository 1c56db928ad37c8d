"""A LightningModule as a task: one worker is Lightning's Trainer, metrics are its own, the rest is refused by name."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset

import asgd
from asgd.errors import UserError
from asgd.spec.types import JobSpec
from asgd.worker.scalars import plain
from tests.checks.harness import job_spec
from tests.users.alone import work_alone

pl = pytest.importorskip("pytorch_lightning")
pytestmark = pytest.mark.filterwarnings("ignore")
SAMPLES, BATCH, EPOCHS = 40, 8, 3


def data(samples: int = SAMPLES) -> TensorDataset:
    x = torch.randn(samples, 4, generator=torch.Generator().manual_seed(1))
    return TensorDataset(x, (x.sum(1) > 0).long())


def loader(samples: int = SAMPLES, shuffle: bool = True, **options: Any) -> DataLoader[Any]:
    return DataLoader(data(samples), BATCH, shuffle=shuffle, **options)


class Lit(pl.LightningModule):  # type: ignore[misc, name-defined]
    """AdamW with two groups and a schedule; logs in both steps."""

    def __init__(self, interval: str = "step") -> None:
        super().__init__()
        torch.manual_seed(3)
        self.save_hyperparameters()
        self.net = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 2))
        self.called: list[str] = []

    def training_step(self, batch: Any, batch_idx: int) -> Any:
        x, y = batch
        answers = self.net(x)
        loss = F.cross_entropy(answers, y)
        self.log("train_acc", (answers.argmax(1) == y).float().mean(), prog_bar=True)
        self.log_dict({"loss": loss, "width": 8})
        return {"loss": loss, "answers": answers}

    def validation_step(self, batch: Any, batch_idx: int) -> None:
        x, y = batch
        answers = self.net(x)
        self.log("val_loss", F.cross_entropy(answers, y))
        self.log("val_acc", (answers.argmax(1) == y).float().mean(), on_step=True, on_epoch=True)
        self.log("val_worst", (answers - x.mean()).max(), reduce_fx="max")

    def on_validation_epoch_end(self) -> None:
        self.log("val_epochs", 1.0)

    def on_train_epoch_start(self) -> None:
        self.called.append(f"epoch {self.current_epoch}")

    def configure_optimizers(self) -> Any:
        groups = [
            {"params": [p for p in self.parameters() if p.ndim > 1]},
            {"params": [p for p in self.parameters() if p.ndim == 1], "weight_decay": 0.0},
        ]
        optimizer = torch.optim.AdamW(groups, lr=0.02, weight_decay=0.1)
        if self.hparams.interval == "epoch":
            return [optimizer], [torch.optim.lr_scheduler.StepLR(optimizer, 1, 0.5)]
        steps = self.trainer.estimated_stepping_batches
        cycle = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=int(steps))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": cycle, "interval": "step", "name": "one"},
        }


class Epochs(IterableDataset[Any]):
    """The batches that the job's worker has read, epoch by epoch."""

    def __init__(self, epochs: list[list[Any]]) -> None:
        self._epochs = iter(epochs)

    def __iter__(self) -> Any:
        return iter(next(self._epochs))


def fit(module: Any, batches: list[Any], **options: Any) -> Any:
    """The same batches by Lightning's Trainer."""
    each = -(-SAMPLES // BATCH)
    epochs = [batches[at : at + each] for at in range(0, len(batches), each)]
    trainer = pl.Trainer(
        max_epochs=len(epochs), accelerator="cpu", logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False, **options,
    )  # fmt: skip
    # NB: an iterable has no length for estimated_stepping_batches.
    limited = type("Known", (DataLoader,), {"__len__": lambda self: each})
    trainer.fit(module, limited(Epochs(epochs), batch_size=None))
    return trainer


def recorded(task: asgd.Task, last: nn.Module) -> tuple[list[Any], list[Any]]:
    """The batches of the task's loss, and what it returns, as they come; `last` has the weights of the last one."""
    seen, told, loss = [], [], task.loss

    def listened(model: nn.Module, batch: Any) -> Any:
        seen.append([part.clone() for part in batch])
        last.load_state_dict(model.state_dict())
        told.append(loss(model, batch))
        return told[-1]

    task.loss = plain(listened)
    return seen, told


def apart(one: nn.Module, other: nn.Module) -> float:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return max(float((a.detach() - b.detach()).abs().max()) for a, b in pairs)


def task_of(module: Any = None, **options: Any) -> asgd.Task:
    from asgd.integrations import lightning

    options = {"train_dataloaders": loader(), "max_epochs": EPOCHS} | options
    return lightning.task(module or Lit(), **options)


@pytest.mark.parametrize("interval", ["step", "epoch"])
@pytest.mark.parametrize("algorithm", ["asgd", "local-sgd"])
def test_one_worker_is_lightning_s_trainer(interval: str, algorithm: str, tmp_path: Path) -> None:
    module = Lit(interval)
    task, last = task_of(module), Lit()
    seen, told = recorded(task, last)
    spec = {"algorithm": {"name": algorithm}, "optimizer": {}, "stopAfter": {"epochs": EPOCHS}}
    assert work_alone(tmp_path, task, batchSize=BATCH, **spec) == 0
    assert len(seen) >= EPOCHS * SAMPLES // BATCH
    plainly = Lit(interval)
    fit(plainly, seen[:-1])
    assert apart(last, plainly) < 2e-5
    assert apart(last, Lit()) > 0.01
    assert {"loss", "train_acc", "width"} == told[0].keys()
    begun = [f"epoch {number}" for number in range(EPOCHS)]
    # NB: where a worker hears of the job every few steps, it hears of some epochs at once.
    assert (
        module.called[:EPOCHS] == begun if algorithm == "asgd" else set(module.called) <= {*begun, "epoch 3"}
    )


def test_metrics_are_those_of_lightning_s_validation() -> None:
    module = Lit()
    task = task_of(module, val_dataloaders=loader(20, shuffle=False))
    assert task.evaluate is not None
    module.eval()
    with torch.no_grad():
        found = task.evaluate(module)
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.validate(module, loader(20, shuffle=False), verbose=False)
    wanted = {name: float(value) for name, value in trainer.callback_metrics.items() if name in found}
    assert found.keys() == {"val_loss", "val_acc", "val_worst", "val_epochs"}
    assert found == pytest.approx(wanted, rel=1e-6)


def test_several_loaders_and_metric_objects_are_told_as_in_lightning() -> None:
    import torchmetrics

    class Two(Lit):
        def __init__(self) -> None:
            super().__init__()
            self.accuracy = torchmetrics.classification.MulticlassAccuracy(2, average="micro")

        def validation_step(self, batch: Any, batch_idx: int, dataloader_idx: int = 0) -> None:  # type: ignore[override]
            x, y = batch
            self.accuracy(self.net(x), y)
            self.log("loss_of", F.cross_entropy(self.net(x), y))

        def on_validation_epoch_end(self) -> None:
            self.log("accuracy", self.accuracy)

    module = Two()
    loaders = [loader(20, shuffle=False), loader(12, shuffle=False)]
    task = task_of(module, val_dataloaders=loaders)
    assert task.evaluate is not None
    with torch.no_grad():
        found = [task.evaluate(module) for _ in range(2)]
    assert found[0] == found[1]  # nothing is left of the first
    assert found[0].keys() == {"loss_of/dataloader_idx_0", "loss_of/dataloader_idx_1", "accuracy"}
    trainer = pl.Trainer(
        accelerator="cpu", logger=False, enable_progress_bar=False, enable_model_summary=False
    )
    trainer.validate(module, loaders, verbose=False)
    wanted = {name: float(trainer.callback_metrics[name]) for name in found[0]}
    assert found[0] == pytest.approx(wanted, rel=1e-6)


class Counting(pl.Callback):  # type: ignore[misc, name-defined]
    """Counts what it is told."""

    def __init__(self) -> None:
        self.told: list[str] = []

    def on_train_start(self, trainer: Any, pl_module: Any) -> None:
        self.told.append("start")

    def on_train_batch_end(
        self, trainer: Any, pl_module: Any, outputs: Any, batch: Any, batch_idx: int
    ) -> None:
        assert not outputs["loss"].requires_grad and len(batch) == 2
        self.told.append(f"batch {batch_idx}")

    def on_train_end(self, trainer: Any, pl_module: Any) -> None:
        self.told.append("end")

    def on_validation_end(self, trainer: Any, pl_module: Any) -> None:
        self.told.append(f"validation {'val_loss' in trainer.callback_metrics}")


def test_callbacks_are_called_in_the_worker_and_the_evaluator(tmp_path: Path) -> None:
    callback = Counting()
    task = task_of(Lit("epoch"), callbacks=[callback], val_dataloaders=loader(20, shuffle=False))
    evaluate, task.evaluate = task.evaluate, None
    task.loss = plain(task.loss)
    assert work_alone(tmp_path, task, batchSize=BATCH, optimizer={}, stopAfter={"epochs": 2}) == 0
    epoch = [f"batch {number}" for number in range(SAMPLES // BATCH)]
    assert callback.told == ["start", *epoch, *epoch, "end"]
    assert evaluate is not None
    evaluate(task.model)
    assert callback.told[-1] == "validation True"


class Data(pl.LightningDataModule):  # type: ignore[misc, name-defined]
    def prepare_data(self) -> None:
        self.prepared = True

    def setup(self, stage: str) -> None:
        self.train = data() if stage == "fit" and self.prepared else None

    def train_dataloader(self) -> Any:
        return DataLoader(self.train, BATCH, shuffle=True)  # type: ignore[arg-type]

    def val_dataloader(self) -> Any:
        return loader(20, shuffle=False)

    def on_after_batch_transfer(self, batch: Any, dataloader_idx: int) -> Any:
        return [2 * batch[0], batch[1]]


def test_a_data_module_brings_data_and_its_batch_hooks() -> None:
    module = Lit()
    task = task_of(module, train_dataloaders=None, datamodule=Data())
    assert isinstance(task.data, Dataset) and len(task.data) == SAMPLES  # type: ignore[arg-type]
    assert task.fields == {"batchSize": BATCH, "stopAfter.epochs": EPOCHS}
    x, y = data()[:BATCH]
    found = task.loss(module, (x, y))["loss"]
    assert torch.equal(found, F.cross_entropy(module.net(2 * x), y))


def test_a_trainer_s_settings_become_fields_of_the_job() -> None:
    trainer = pl.Trainer(
        max_epochs=5, gradient_clip_val=0.5, accumulate_grad_batches=2, logger=False, accelerator="cpu"
    )
    task = task_of(trainer=trainer, max_epochs=None)
    assert task.accumulate == 2
    assert task.fields == {"batchSize": 2 * BATCH, "optimizer.clipNorm": 0.5, "stopAfter.epochs": 5}


def test_a_task_may_be_sent_by_value_and_is_whole_there() -> None:
    cloudpickle = pytest.importorskip("cloudpickle")
    task = pickle.loads(cloudpickle.dumps(task_of(val_dataloaders=loader(20, shuffle=False))))
    task.optimizer([*task.model.parameters()])
    assert task.loss.__self__.module is task.model
    assert task.evaluate(task.model)["val_epochs"] == 1.0


def test_a_task_of_another_batch_size_than_the_job_s_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    from asgd.worker.task.build import build_task

    spec: JobSpec = job_spec(entrypoint="tests.users.test_lightning:task_of", batchSize=16)
    with pytest.raises(UserError) as caught:
        build_task(spec)
    assert str(caught.value).startswith(
        "spec.batchSize: 16, and the task of tests.users.test_lightning:task_of is made"
    )


def test_a_task_at_module_level_is_an_entrypoint_that_gives_copies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from asgd.worker.task.build import build_task

    text = "from tests.users import test_lightning as t\ntask = t.task_of()\n"
    (tmp_path / "lit.py").write_text(text)
    monkeypatch.chdir(tmp_path)
    spec = job_spec(entrypoint="lit.py:task", batchSize=BATCH)
    one, other = build_task(spec), build_task(spec)
    assert one.model is not other.model and one.data is other.data
    assert apart(one.model, other.model) == 0.0


def test_importing_asgd_and_its_integrations_imports_no_framework() -> None:
    import subprocess
    import sys

    code = (
        "import sys, asgd, asgd.integrations\n"
        "assert 'torch' not in sys.modules\n"
        "import asgd.integrations.lightning, asgd.integrations.huggingface\n"
        "print([m for m in ('pytorch_lightning', 'lightning', 'transformers', 'datasets') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
