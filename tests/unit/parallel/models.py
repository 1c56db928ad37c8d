"""Models, batches and gradients for tests of the pipeline: whole on one device, or in stages."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from asgd.spec.types import JobSpec, Workers
from asgd.task import Task
from asgd.worker.device.backward import backward
from asgd.worker.device.flat import Flat
from asgd.worker.parallel.pipeline import Pipeline, Watch
from asgd.worker.parallel.plan import cut, place
from asgd.worker.reading.leased import LeasedBatch

CPU = torch.device("cpu")
OTHERS = [torch.device("cpu", number) for number in (1, 2, 3)]
"""The CPU under names of its own: not where the flat vector is, so values are copied as to and from GPUs."""
SAMPLES = 37
"""No micro-batch is as large as all others."""


def images() -> tuple[Tensor, Tensor]:
    source = torch.Generator().manual_seed(1)
    return torch.randn(SAMPLES, 1, 8, 8, generator=source), torch.arange(SAMPLES) % 10


def mean_loss(model: Any, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def net() -> nn.Sequential:
    """Convolution, batch norm, dropout and in-place layers."""
    torch.manual_seed(0)
    return nn.Sequential(
        nn.Conv2d(1, 8, 3), nn.BatchNorm2d(8), nn.ReLU(inplace=True), nn.Dropout(0.3), nn.Flatten(),
        nn.Sequential(nn.Linear(288, 32), nn.Dropout(0.2, inplace=True)), nn.ReLU(), nn.Linear(32, 10),
    )  # fmt: skip


def task(model: nn.Module, loss: Any = mean_loss, accumulate: int = 5, **parts: Any) -> Task:
    parts.setdefault("data", TensorDataset(*images()))
    return Task(model=model, loss=loss, accumulate=accumulate, **parts)


def spec(stages: int) -> JobSpec:
    return JobSpec(entrypoint="mine:task", workers=Workers(stages=stages))


@dataclass
class Trained:
    """Losses, gradients, weights and buffers of a few steps of SGD."""

    losses: list[float]
    gradients: list[Tensor]
    weights: Tensor
    buffers: list[Tensor]

    def same_bits(self, other: Trained) -> bool:
        ours, theirs = ([*one.gradients, one.weights, *one.buffers] for one in (self, other))
        return self.losses == other.losses and all(
            torch.equal(a, b) for a, b in zip(ours, theirs, strict=True)
        )


def pipelined(
    one: Task, stages: int, devices: Sequence[torch.device] = (CPU,), watch: Watch | None = None
) -> Pipeline:
    flat, placed = place(one, cut(one, spec(stages)), devices)
    return Pipeline(one, flat, placed, watch)


def train(
    one: Task, stages: int = 1, devices: Sequence[torch.device] = (CPU,), batch: Any = None, steps: int = 3
) -> Trained:
    """With stages=1 by the plain loop of a worker."""
    one.model.train()
    batch = images() if batch is None else batch
    item = LeasedBatch(batch, SAMPLES)
    if stages == 1:
        flat = Flat(one.model, devices[0])
        return _steps(one, flat, lambda: backward(one, flat, devices[0], item), steps)
    pipeline = pipelined(one, stages, devices)
    try:
        return _steps(one, pipeline.flat, lambda: pipeline.gradient(item), steps)
    finally:
        pipeline.close()


def _steps(one: Task, flat: Flat, gradient: Callable[[], float], steps: int) -> Trained:
    torch.manual_seed(7)
    losses, gradients = [], []
    for _ in range(steps):
        losses.append(gradient())
        gradients.append(flat.gather().clone())
        flat.weights -= 0.1 * gradients[-1]
    return Trained(losses, gradients, flat.weights.clone(), [b.clone() for b in one.model.buffers()])
