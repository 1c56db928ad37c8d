"""The check before the start tries what will run: a batch, its loss, backward and `evaluate`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from asgd.errors import UserError
from asgd.spec.types import BestRule, JobSpec, Metric, StopAfter
from asgd.worker.task import trial
from asgd.worker.task.check import Findings, look

TASK = """
import time
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset
import asgd

X = torch.randn(64, 8)

class Unlike(Dataset):
    def __len__(self): return 64
    def __getitem__(self, index): return torch.ones(1 + index % 5)

def loss(model, batch): return (model(batch[0]) - batch[1]).pow(2).mean()
def fails(model): raise KeyError("label_map")
def slow(model): time.sleep(60)
def wrong(samples): return {"rows": torch.stack([x for x, y in samples])}

def task(**given):
    parts = dict(model=nn.Linear(8, 1), loss=loss, data=TensorDataset(X, X.sum(1, keepdim=True)))
    return asgd.Task(**(parts | {key: eval(value) for key, value in given.items()}))
"""
REFUSED = {
    "a loss of each sample": (
        {"loss": "lambda m, b: (m(b[0]) - b[1]).pow(2)[:, 0]"},
        "Task.loss returned a Tensor of shape (32,); allowed: a scalar Tensor, the mean over the batch",
    ),
    "a loss that is a number": (
        {"loss": "lambda m, b: loss(m, b).item()"},
        "Task.loss returned float; allowed: a scalar Tensor",
    ),
    "one sample left, and batch norm": (
        {
            "model": "nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))",
            "data": "TensorDataset(X[:33], X[:33].sum(1, keepdim=True))",
        },
        "spec.batchSize: 32 of the 33 samples of mine.py:task leaves a last batch of 1 sample, of which loss and"
        " backward failed: ValueError: Expected more than 1 value per channel when training, got input size ",
    ),
    "a loss without the model": (
        {"loss": "lambda m, b: b[0].mean()"},
        "Task.loss returned a Tensor that no trained parameter of the model is part of",
    ),
    "a loss that raises": (
        {"loss": "lambda m, b: m(b[0][:, :3])"},
        "loss and backward of one batch failed: RuntimeError: ",
    ),
    "a model without values": (
        {"model": "nn.Linear(8, 1, device='meta')"},
        "Task.model: weight is on the meta device, without values",
    ),
    "a collate that loss does not know": (
        {"collate": "wrong"},
        "loss and backward of one batch failed: KeyError: 0 (mine.py:14)",
    ),
    "a collate that raises": (
        {"collate": "lambda samples: samples[99]"},
        "IndexError: list index out of range",
    ),
    "samples of unlike lengths": (
        {"data": "Unlike()"},
        "making a batch of 32 samples failed: RuntimeError: stack expects each tensor to be equal size",
    ),
    "an evaluate that raises": ({"evaluate": "fails"}, "evaluate raised KeyError: 'label_map' (mine.py:15)"),
    "an evaluate that gives no metrics": (
        {"evaluate": "lambda m: 0.5"},
        "evaluate raised AttributeError: 'float' object has no attribute 'items'",
    ),
}


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine.py").write_text(TASK)
    yield tmp_path


def spec(**given: str) -> JobSpec:
    return JobSpec(entrypoint="mine.py:task", args=given)


@pytest.mark.parametrize("case", REFUSED)
def test_what_would_fail_in_every_worker_is_refused_before_any_starts(in_folder: Path, case: str) -> None:
    given, words = REFUSED[case]
    with pytest.raises(UserError) as refusal:
        look(spec(**given))
    fields = ("spec.entrypoint: mine.py:task: ", "mine.py:task: ", "spec.batchSize: ")
    assert str(refusal.value).startswith(fields)
    assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("updates", [1, 2])
def test_a_last_batch_that_the_job_never_comes_to_is_not_tried(in_folder: Path, updates: int) -> None:
    given = spec(**REFUSED["one sample left, and batch norm"][0])
    given = msgspec.structs.replace(given, stop_after=StopAfter(updates=updates))
    if updates == 1:
        assert look(given).dataset == 33
    else:
        with pytest.raises(UserError, match="leaves a last batch of 1 sample"):
            look(given)


def test_a_loader_that_leaves_one_sample_is_told_of_drop_last(in_folder: Path) -> None:
    loader = (
        "torch.utils.data.DataLoader(TensorDataset(X[:33], X[:33].sum(1, keepdim=True)), 8, drop_last={})"
    )
    model = "nn.Sequential(nn.Linear(8, 4), nn.BatchNorm1d(4), nn.Linear(4, 1))"
    for drops in (True, False):
        given = msgspec.structs.replace(
            spec(model=model, data=loader.format(drops)), stop_after=StopAfter(updates=99)
        )
        if drops:
            assert look(given).dataset is None
            continue
        with pytest.raises(
            UserError, match=r"batch_size 8 over 33 samples, leaves a last .* drop_last=True, or"
        ):
            look(given)


def test_a_metric_that_evaluate_does_not_give_is_refused_with_those_it_gives(in_folder: Path) -> None:
    given = spec(evaluate="lambda m: {'loss': 1.0, 'top5': 0.5}")
    rule = StopAfter(metric=Metric("accuracy", at_least=0.9))
    with pytest.raises(
        UserError, match=r"metric.name: accuracy is nothing that .* gives; allowed: loss, top5$"
    ):
        look(msgspec.structs.replace(given, stop_after=rule))


def test_a_best_model_by_a_metric_that_evaluate_does_not_give_is_refused_with_those_it_gives(
    in_folder: Path,
) -> None:
    given = spec(evaluate="lambda m: {'loss': 1.0, 'top5': 0.5}")
    wanted = msgspec.structs.replace(given.checkpoint, best=BestRule("accuracy", "max"))
    said = r"^spec.checkpoint.best.metric: accuracy is nothing that .* gives; allowed: loss, top5$"
    with pytest.raises(UserError, match=said):
        look(msgspec.structs.replace(given, checkpoint=wanted))
    without = msgspec.structs.replace(spec(evaluate="None"), checkpoint=wanted)
    with pytest.raises(UserError, match=r"^spec.checkpoint.best: .* returns a Task without `evaluate`$"):
        look(without)


def test_an_evaluation_that_takes_long_is_let_go_with_what_was_found(
    in_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class LetGo(BaseException):
        pass

    def let_go(status: int) -> None:
        assert status == 0
        ended.append(status)

    ended: list[int] = []
    told: list[Findings] = []
    monkeypatch.setattr(trial, "EVALUATE_SECONDS", 0.05)
    monkeypatch.setattr("asgd.worker.task.check.os._exit", let_go)
    found = look(spec(evaluate="lambda m: time.sleep(0.5) or {}"), told.append)
    assert ended == [0]
    assert (told[0].untried, told[0].size, found.untried) == ("an evaluation", 9, "")
