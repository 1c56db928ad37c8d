"""A model of several chunks a shard with everything that makes gradients come in an odd way, and plain SGD of it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.utils.data import TensorDataset

from asgd import Task
from asgd.kernel import F32

WIDTH = 600
RATE = 0.01


class _Watched(torch.autograd.Function):
    """Identity; calls `watch` when its backward pass runs."""

    @staticmethod
    def forward(ctx: Any, value: Tensor, watch: Callable[[], None]) -> Tensor:
        ctx.watch = watch
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        ctx.watch()
        return gradient, None


class Wide(nn.Module):
    """Layers of 360,000 parameters. `watch` is called when backward has done all of them but the first."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(WIDTH, WIDTH)
        self.shared = nn.Linear(WIDTH, WIDTH)
        self.frozen = nn.Linear(WIDTH, WIDTH).requires_grad_(False)
        self.unused = nn.Linear(WIDTH, 8)
        self.middle = nn.Linear(WIDTH, WIDTH)
        self.late = nn.Linear(WIDTH, WIDTH)
        self.head = nn.Linear(WIDTH, 10)
        self.watch: Callable[[], None] = lambda: None

    def forward(self, batch: Tensor) -> Tensor:
        value = _Watched.apply(self.first(batch), self.watch)
        for layer in (self.shared, self.frozen, self.middle, self.shared, self.late):
            value = torch.tanh(layer(value))
        out: Tensor = self.head(value)
        return out


def wide(accumulate: int = 1, size: int = 64) -> Task:
    """Classes of noise; a sample that is 1e30 throughout makes an infinite gradient."""
    source = torch.Generator().manual_seed(3)
    data = TensorDataset(torch.randn(size, WIDTH, generator=source), torch.arange(size) % 10)

    def loss(model: nn.Module, batch: Any) -> Tensor:
        return nn.functional.cross_entropy(model(batch[0]), batch[1])

    return Task(model=Wide(), loss=loss, data=data, accumulate=accumulate)


def plain_sgd(task: Task, batches: list[Any], rate: float = RATE) -> dict[str, F32]:
    """What PyTorch alone makes of the batches, in two-step arithmetic; the task's model is moved."""
    trained = {name: p for name, p in task.model.named_parameters() if p.requires_grad}
    for batch in batches:
        loss = task.loss(task.model, batch)
        gradients = torch.autograd.grad(loss, list(trained.values()), allow_unused=True)
        with torch.no_grad():
            for parameter, gradient in zip(trained.values(), gradients, strict=True):
                if gradient is not None:
                    parameter += gradient * -rate
    return {name: np.asarray(p.detach().numpy()) for name, p in trained.items()}
