"""Batch norm's statistics and other buffers: whose the evaluated and saved model has, by `spec.buffers`."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import IterableDataset, TensorDataset

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.batch_norm import recompute
from asgd.worker.device.buffers import Buffers, least_steps

SPEC = JobSpec(entrypoint="mine:task", batch_size=10)
SAMPLES = torch.randn(100, 3, generator=torch.Generator().manual_seed(0)) * 2 + 5


class Net(nn.Module):
    """Batch norm behind dropout; a float buffer of its own, an integer one, and one that is not saved."""

    def __init__(self) -> None:
        super().__init__()
        self.drop = nn.Dropout(0.5)
        self.norm = nn.BatchNorm1d(3, momentum=0.01)
        self.register_buffer("scale", torch.tensor([1.0, 2.0]))
        self.register_buffer("count", torch.tensor(7))
        self.register_buffer("scratch", torch.ones(5), persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.norm(self.drop(x))
        return answer


class Stream(IterableDataset[Tensor]):
    def __iter__(self) -> Any:
        return iter(SAMPLES)


def task(model: nn.Module, data: Any) -> Task:
    return Task(
        model=model, loss=lambda model, batch: model(batch[0] if len(batch) == 1 else batch).mean(), data=data
    )


@pytest.mark.parametrize("data", [TensorDataset(SAMPLES), Stream()], ids=["leased", "stream"])
def test_recompute_gives_the_statistics_of_the_training_data_without_dropout(data: Any) -> None:
    model = Net().eval()
    model.norm.train()
    weights = [p.detach().clone() for p in model.parameters()]
    recompute(task(model, data), SPEC, torch.device("cpu"))
    within = SAMPLES.view(10, 10, 3)
    torch.testing.assert_close(model.norm.running_mean, SAMPLES.mean(0), rtol=1e-4, atol=1e-4)
    if isinstance(data, Stream):
        torch.testing.assert_close(model.norm.running_var, within.var(1).mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(model.norm.running_var, SAMPLES.var(0), rtol=0.3, atol=0)
    assert (model.norm.momentum, int(model.get_buffer("norm.num_batches_tracked"))) == (0.01, 0)
    assert (model.training, model.drop.training, model.norm.training) == (False, False, True)
    assert all(torch.equal(a, b) for a, b in zip(weights, model.parameters(), strict=True))


def told(value: float) -> bytes:
    """What a worker tells whose mean, variance and scale are all `value`."""
    return np.full(8, value, np.float32).tobytes()


@pytest.mark.parametrize(("policy", "expected"), [("local", 1.0), ("average", 2.0)])
def test_the_answer_has_the_lowest_workers_buffers_or_their_mean(policy: str, expected: float) -> None:
    model = Net()
    assert Buffers(model).settle(policy, [told(1.0), told(3.0)])
    for name in ("norm.running_mean", "norm.running_var", "scale"):
        assert (model.get_buffer(name) == expected).all(), name
    assert (int(model.get_buffer("count")), int(model.get_buffer("norm.num_batches_tracked"))) == (7, 0)
    assert (model.get_buffer("scratch") == 1).all()


@pytest.mark.parametrize(("policy", "values"), [("recompute", [told(1.0)]), ("average", []), ("local", [])])
def test_there_is_nothing_to_take_over_under_recompute_or_before_a_worker_has_told(
    policy: str, values: list[bytes]
) -> None:
    assert not Buffers(Net()).settle(policy, values)


@pytest.mark.parametrize("policy", ["local", "average"])
def test_who_tells_buffers_of_another_model_is_left_out(policy: str) -> None:
    model = Net()
    assert not Buffers(model).settle(policy, [b"\0" * 4])
    assert Buffers(model).settle(policy, [b"\0" * 4, told(3.0)])
    assert (model.get_buffer("scale") == 3.0).all()


def test_a_worker_tells_its_buffers_once_they_mean_something_at_the_pace_of_evaluation_and_at_the_end() -> (
    None
):
    model = Net()
    buffers = Buffers(model)
    least = least_steps(model)
    assert buffers.report(least - 1, 10.0, final=True) == b""
    assert buffers.report(least, 0.0, final=False) == b""
    model.norm.running_mean = torch.full((3,), 4.0)
    first = buffers.report(least, 1000.0, final=False)
    assert np.frombuffer(first, np.float32).tolist() == [1, 2, 4, 4, 4, 1, 1, 1]
    assert buffers.report(least, 1000.0, final=False) == b""
    assert buffers.report(least, 1000.0, final=True)


@pytest.mark.parametrize("momentum", [0.1, 0.9, 1.0, None, 0.01, 0.001])
def test_a_workers_buffers_count_once_nothing_is_left_of_what_batch_norm_began_with(
    momentum: float | None,
) -> None:
    model = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3, momentum=momentum))
    steps = least_steps(model)
    assert steps >= 50
    left = (1 - (momentum or 1.0)) ** steps
    assert left <= 0.0052
    assert steps == 50 or (1 - (momentum or 1.0)) ** (steps - 2) > 0.0051, "and no step later"


NAN = float("nan")


@pytest.mark.parametrize("policy", ["local", "average"])
def test_who_tells_nan_is_left_out(policy: str) -> None:
    model = Net()
    assert Buffers(model).settle(policy, [told(NAN), told(3.0)])
    assert (model.get_buffer("scale") == 3.0).all()
    assert not Buffers(model).settle(policy, [told(NAN)])


def test_a_mask_of_inf_is_told_like_any_other_buffer() -> None:
    model = Net()
    assert Buffers(model).settle("local", [told(-float("inf"))])


def test_a_running_mean_that_a_batch_has_spoiled_begins_anew_and_the_others_stay() -> None:
    model = Net()
    buffers = Buffers(model)
    model(SAMPLES)
    model.scale.fill_(4.0)
    kept = model.norm.running_var.clone()
    model.norm.running_mean[1] = NAN
    buffers.heal()
    assert (model.norm.running_mean == 0).all() and torch.equal(model.norm.running_var, kept)
    assert (model.scale == 4.0).all()


def test_recompute_leaves_batches_with_nan_out() -> None:
    spoiled = SAMPLES.clone()
    spoiled[17] = NAN
    model = Net().eval()
    model.norm.train()
    recompute(task(model, TensorDataset(spoiled)), SPEC, torch.device("cpu"))
    torch.testing.assert_close(model.norm.running_mean, SAMPLES.mean(0), rtol=0.2, atol=0)
