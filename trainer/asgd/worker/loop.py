"""The training loop of `asgd worker`, on one screen: read a batch, compute its gradient, hand it to the replica."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

from asgd.algorithms.attacks import Attack
from asgd.parallel.draws import dealt
from asgd.task import Task
from asgd.worker.device.accelerator import to_device
from asgd.worker.device.flat import Flat
from asgd.worker.reading.batches import WAIT, Lease, LeasedBatch, Waiting
from asgd.worker.reading.data import open_batches
from asgd.worker.reading.leases import Leasing
from asgd.worker.reading.nested import micro_batches
from asgd.worker.replica import Replica

Early = Callable[[LeasedBatch, Tensor, float, float], AbstractContextManager[None]]
"""Told of a batch's last backward pass, which runs in it: the batch, its last loss, the loss of the micro-batches
before it, the last one's share. See `Replica.pushing`."""

Gradient = Callable[[LeasedBatch, Early], float]


def train(
    task: Task, replica: Replica, leases: Leasing, leaving: Callable[[], bool], gradient: Gradient
) -> str:
    """Trains until the job stops or `leaving` (SIGTERM): the push in flight is finished. Returns why it ended.

    `gradient` leaves that of a batch in `replica.flat` and returns the batch's loss; it may tell `Early` before.
    """
    task.model.train()

    def next_lease() -> Lease | Waiting | None:
        if leaving() or replica.stop:
            return None
        granted = leases.next()
        if granted.wait or granted.over:
            # What is computed but not pushed would never count as visited.
            replica.flush()
            return None if granted.over else WAIT
        return granted.epoch, granted.start, granted.stop

    batches = open_batches(task, replica.spec, replica.config.index, next_lease)
    item = next(batches, None)
    replica.refresh()
    while item is not None and not replica.stop and not leaving():
        if leases.holds(item.visits):
            with replica.meters.timed("compute"):
                loss = gradient(studied(item, replica.attack), replica.pushing)
            replica.step(item.samples, loss, item.visits)
        with replica.meters.timed("data"):
            item = next(batches, None)
    replica.flush()
    return replica.stop


def studied(item: LeasedBatch, attack: Attack | None) -> LeasedBatch:
    """The batch as an honest worker, or this one, looks at it."""
    return LeasedBatch(attack.study(item.batch), item.samples, item.visits) if attack else item


def nobody(item: LeasedBatch, loss: Tensor, before: float, share: float) -> AbstractContextManager[None]:
    """The gradient is wanted when it is whole."""
    return nullcontext()


def backward(task: Task, flat: Flat, device: torch.device, item: LeasedBatch, early: Early = nobody) -> float:
    """The gradient of the batch's mean loss, accumulated over `task.accumulate` micro-batches; returns the loss."""
    flat.zero()
    batch: Any = to_device(item.batch, device)
    parts = micro_batches(batch, task.accumulate)
    if len(parts) == 1:
        return _add(task, *parts[0], partial(early, item))
    total = 0.0
    with dealt(len(parts), device) as draws:
        for number, ((part, share), own) in enumerate(zip(parts, draws, strict=True), 1):
            with own.on(device):
                last = number == len(parts)
                total = _add(task, part, share, partial(early if last else nobody, item), total)
    return total


def _add(
    task: Task, part: Any, share: float,
    early: Callable[[Tensor, float, float], AbstractContextManager[None]], before: float = 0.0,
) -> float:  # fmt: skip
    """Adds a micro-batch's share to the gradients; returns `before` + its share of the loss."""
    loss: Tensor = task.loss(task.model, part)
    with early(loss, before, share):
        (loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]
    return before + float(loss.detach()) * share
