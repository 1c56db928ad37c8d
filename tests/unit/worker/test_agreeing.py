"""What a worker tells of its data, frozen parameters and buffers: the same in every process that has built the same."""

from __future__ import annotations

import random
import time
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import Dataset, TensorDataset

from asgd.task import Task
from asgd.wire.agreement import difference, unpack
from asgd.worker.device.randomness import seed_everything
from asgd.worker.task import agreeing
from asgd.worker.task.agreeing import digest_of_model, look, spread


class Items(Dataset[Any]):
    """100 samples that `read` gives."""

    def __init__(self, read: Any) -> None:
        self._read = read

    def __len__(self) -> int:
        return 100

    def __getitem__(self, index: int) -> Any:
        return self._read(index)


def task_of(data: Any, model: nn.Module | None = None) -> Task:
    return Task(model=model or nn.Linear(2, 2), loss=lambda model, batch: batch, data=data)


def samples(task: Task) -> Any:
    return look(task).samples


def between(one: Task, other: Task) -> tuple[str, str] | None:
    return difference(unpack(look(one).digest()), unpack(look(other).digest()))


@pytest.mark.parametrize("size", [1, 2, 7, 8, 9, 1797])
def test_samples_are_spread_over_the_data(size: int) -> None:
    found = spread(size, 8)
    assert len(found) == len(set(found)) == min(size, 8)
    assert {0, size - 1} <= set(found) <= set(range(size))


def test_augmentation_under_the_global_seeds_agrees_and_random_numbers_go_on_as_they_were() -> None:
    def augmented(index: int) -> Any:
        return torch.full((4,), float(index)) + torch.randn(4) + random.random() + np.random.rand()

    def drawn() -> list[float]:
        return [float(torch.rand(())), random.random(), float(np.random.rand())]

    seed_everything(1)
    wanted = drawn()
    task = task_of(Items(augmented))
    seed_everything(1)
    one = samples(task)
    assert drawn() == wanted
    seed_everything(2)
    assert len(one) == 8 and difference(one, samples(task_of(Items(augmented)))) is None


def test_labels_that_are_numbered_otherwise_are_told_by_their_sample() -> None:
    one, other = (
        task_of(Items(lambda index, shift=shift: (index * 1.0, (index + shift) % 10))) for shift in (0, 1)
    )
    assert between(one, other) == ("sample 0", "in integers or strings")


def test_data_that_are_random_by_themselves_are_said_to_be_that_and_left_out(
    capsys: pytest.CaptureFixture[str],
) -> None:
    own = np.random.default_rng()
    assert samples(task_of(Items(lambda index: own.normal()))) == []
    assert (
        "the data are random by themselves: sample 0, read twice under one seed, differs"
        in capsys.readouterr().out
    )


def test_slow_data_are_compared_by_fewer_samples_and_cost_under_a_second() -> None:
    def slow(index: int) -> int:
        time.sleep(0.1)
        return index

    began = time.monotonic()
    found = samples(task_of(Items(slow)))
    assert 1 <= len(found) < 8 and time.monotonic() - began < 1.0


def test_data_that_cannot_be_read_are_left_to_who_trains_on_them() -> None:
    def broken(index: int) -> int:
        raise OSError("no such file")

    assert samples(task_of(Items(broken))) == []


def test_a_stream_has_no_samples_to_compare() -> None:
    assert samples(task_of(iter([1]))) == []


@pytest.mark.parametrize("kind", [torch.float32, torch.float16, torch.bfloat16, torch.int64, torch.complex64])
def test_a_frozen_parameter_or_buffer_that_differs_is_told_by_name(kind: torch.dtype) -> None:
    def model(seed: int) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        net.register_buffer(
            "mean", (100 * torch.rand(5, generator=torch.Generator().manual_seed(seed))).to(kind)
        )
        return net

    assert difference(unpack(digest_of_model(model(1))), unpack(digest_of_model(model(1)))) is None
    found = difference(unpack(digest_of_model(model(1))), unpack(digest_of_model(model(2))))
    assert found is not None and found[0] == "buffer mean"


def test_frozen_layers_are_compared_and_trained_ones_and_running_statistics_are_not() -> None:
    def model(scale: float) -> nn.Module:
        torch.manual_seed(0)
        net = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2))
        with torch.no_grad():
            net[0].weight.mul_(scale)
            net[1].running_mean.add_(scale)
        return net

    def told(net: nn.Module) -> Any:
        return unpack(digest_of_model(net))

    assert difference(told(model(1.0)), told(model(2.0))) is None
    frozen = [model(1.0), model(2.0)]
    for net in frozen:
        net[0].weight.requires_grad_(False)  # type: ignore[index, union-attr]
    assert difference(*map(told, frozen)) == ("parameter 0.weight", "in floating-point values")
    resting = [model(1.0), model(2.0)]
    for net in resting:
        net[1].eval()  # type: ignore[index, operator]
    assert difference(*map(told, resting)) == ("buffer 1.running_mean", "in floating-point values")


def test_a_digest_is_small() -> None:
    data = TensorDataset(torch.randn(100, 3, 32, 32), torch.randint(0, 9, (100,)))
    assert len(look(task_of(data)).digest()) < 2000


def test_tensors_of_any_kind_are_described() -> None:
    net = nn.Linear(2, 2)
    net.register_buffer("sparse", torch.eye(3).to_sparse())
    net.register_buffer("meta", torch.empty(3, device="meta"))
    net.register_buffer("flags", torch.tensor([True, False]))
    assert [part.name for part in agreeing.tensors(net)] == ["buffer sparse", "buffer meta", "buffer flags"]
