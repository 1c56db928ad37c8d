"""What a job can't honour of a LightningModule, its Trainer and its data is refused in a sentence, or warned of."""

from __future__ import annotations

import warnings
from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader

import asgd
from asgd.errors import UserError

pl = pytest.importorskip("pytorch_lightning")
from tests.users.test_lightning import BATCH, SAMPLES, Lit, data, loader, task_of  # noqa: E402

pytestmark = pytest.mark.filterwarnings("ignore")


class Manual(Lit):
    def __init__(self) -> None:
        super().__init__()
        self.automatic_optimization = False


class Stepping(Lit):
    def optimizer_step(self, *args: Any, **kwargs: Any) -> None: ...


class Backward(Lit):
    def on_after_backward(self) -> None: ...


class Pair(Lit):
    def configure_optimizers(self) -> Any:
        return [torch.optim.SGD(self.parameters(), 0.1), torch.optim.SGD(self.parameters(), 0.1)]


class Plateau(Lit):
    def configure_optimizers(self) -> Any:
        optimizer = torch.optim.SGD(self.parameters(), 0.1)
        plateau = torch.optim.lr_scheduler.ReduceLROnPlateau(optimizer)
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": plateau, "monitor": "val_loss"}}


class Nothing(Lit):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return None


class Asking(Lit):
    def training_step(self, batch: Any, batch_idx: int) -> Any:
        return self.trainer.strategy.reduce(batch)


class Weights(pl.Callback):  # type: ignore[misc, name-defined]
    def on_before_optimizer_step(self, trainer: Any, pl_module: Any, optimizer: Any) -> None: ...


def drawn() -> Any:
    sampler = torch.utils.data.RandomSampler(data())
    sampler.state_dict = dict  # type: ignore[attr-defined]
    return DataLoader(data(), BATCH, sampler=sampler)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"module": Manual()}, "Manual.automatic_optimization is False"),
        ({"module": Stepping()}, "Stepping.optimizer_step can't be called, for the servers make the steps"),
        ({"module": Backward()}, "Backward.on_after_backward can't be called, for gradients leave"),
        ({"module": nn.Linear(1, 1)}, "Linear is no LightningModule"),
        ({"train_dataloaders": None}, "there are no training data"),
        ({"train_dataloaders": {"a": loader()}}, "the training DataLoader is dict; allowed: one"),
        ({"train_dataloaders": drawn()}, "RandomSampler has a state that is saved"),
        ({"callbacks": [Weights()]}, "Weights.on_before_optimizer_step can't be called"),
        (
            {"callbacks": [pl.callbacks.ModelCheckpoint(monitor="val_loss")]},
            "say checkpoint: {best: {metric:",
        ),
        ({"callbacks": [pl.callbacks.EarlyStopping("val_loss")]}, "say stopAfter: {patience: {metric:"),
        ({"callbacks": [asgd.Callback()]}, "Callback is no Callback of Lightning's"),
    ],
)
def test_what_a_job_can_t_honour_is_refused_when_the_task_is_made(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        task_of(options.pop("module", None), **options)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"precision": "bf16-mixed"}, "Trainer(precision='bf16-mixed') is not honoured"),
        ({"limit_train_batches": 3}, "Trainer(limit_train_batches=3) is not honoured"),
        (
            {"gradient_clip_val": 1.0, "gradient_clip_algorithm": "value"},
            "allowed: 'norm', as optimizer.clipNorm",
        ),
    ],
)
def test_a_trainer_s_settings_that_would_be_lost_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(UserError) as caught:
        task_of(trainer=pl.Trainer(logger=False, accelerator="cpu", max_epochs=1, **options))
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("module", "what", "said"),
    [
        (Pair, "optimizer", "Pair.configure_optimizers returns 2 optimizers, and a task has one"),
        (Plateau, "optimizer", "ReduceLROnPlateau follows a metric"),
        (Nothing, "loss", "Nothing.training_step returned NoneType; allowed: the loss"),
        (Asking, "loss", "self.trainer.strategy is nothing that a module has in an asgd job"),
    ],
)
def test_what_the_module_does_later_is_refused_by_name(module: Any, what: str, said: str) -> None:
    task = task_of(module())
    with pytest.raises(UserError) as caught:
        if what == "loss":
            task.loss(task.model, data()[:BATCH])
        else:
            task.optimizer([*task.model.parameters()])  # type: ignore[operator, misc]
    assert said in str(caught.value)


def test_epochs_that_nobody_has_told_are_asked_for_by_name() -> None:
    task = task_of(max_epochs=None)
    with pytest.raises(UserError, match=r"self\.trainer\.max_epochs is not known; say it: .*max_epochs=20"):
        task.optimizer([*task.model.parameters()])  # type: ignore[operator, misc]


def test_order_and_short_batches_that_a_job_has_otherwise_are_warned_of() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        task_of(train_dataloaders=loader(shuffle=False, drop_last=True))
    said = " ".join(str(each.message) for each in caught)
    assert "shuffle=False" in said and "drop_last=True" in said
    weighted = torch.utils.data.WeightedRandomSampler([1.0] * SAMPLES, SAMPLES)
    stream = DataLoader(data(), BATCH, sampler=weighted)
    task = task_of(train_dataloaders=stream)
    assert task.data is stream and "batchSize" not in task.fields
