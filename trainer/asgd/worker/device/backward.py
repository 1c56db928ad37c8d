"""A batch's gradient: forward and backward over its micro-batches. All else that a worker does is its core's."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from asgd.algorithms.attacks import Attack
from asgd.task import Task
from asgd.worker import scalars
from asgd.worker.device.accelerator import to_device
from asgd.worker.device.draws import dealt
from asgd.worker.device.flat import Flat
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.reading.micro import MicroBatches
from asgd.worker.scalars import Scalars

Early = Callable[[LeasedBatch, Tensor, float, float], AbstractContextManager[None]]
"""Told of a batch's last backward pass, which runs in it: the batch, its last loss, the loss of the micro-batches
before it, the last one's share. See `Granting.pushing`."""


def studied(item: LeasedBatch, attack: Attack | None) -> LeasedBatch:
    """The batch as an honest worker, or this one, looks at it."""
    return LeasedBatch(attack.study(item.batch), item.samples, item.visits) if attack else item


def nobody(item: LeasedBatch, loss: Tensor, before: float, share: float) -> AbstractContextManager[None]:
    """The gradient is wanted when it is whole."""
    return nullcontext()


def backward(
    task: Task, flat: Flat, device: torch.device, item: LeasedBatch, early: Early = nobody,
    pieces: MicroBatches | None = None, beside: Scalars | None = None,
) -> float:  # fmt: skip
    """The gradient of the batch's mean loss, accumulated over micro-batches; returns the loss.

    `beside` is told what else the loss function returns. `pieces` cuts the batch; if not given, into `task.accumulate`.
    """
    flat.zero()
    flat.scatter()
    beside = beside or Scalars()
    beside.begin()
    batch: Any = to_device(item.batch, device)
    parts = (pieces or MicroBatches(task.accumulate)).of(batch, item.samples)
    if len(parts) == 1:
        return _add(task, *parts[0], beside, partial(early, item))
    total = 0.0
    with dealt(len(parts), device) as draws:
        for number, ((part, share), own) in enumerate(zip(parts, draws, strict=True), 1):
            with own.on(device):
                last = number == len(parts)
                total = _add(task, part, share, beside, partial(early if last else nobody, item), total)
    return total


def _add(
    task: Task, part: Any, share: float, beside: Scalars,
    early: Callable[[Tensor, float, float], AbstractContextManager[None]], before: float = 0.0,
) -> float:  # fmt: skip
    """Adds a micro-batch's share to the gradients; returns `before` + its share of the loss."""
    loss: Tensor = task.loss(task.model, part)
    beside.add(scalars.of(loss), share)
    with early(loss, before, share):
        (loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]
    return before + float(loss.detach()) * share
