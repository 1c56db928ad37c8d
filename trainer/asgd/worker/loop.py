"""The training loop of `asgd worker`, on one screen: read a batch, compute its gradient, hand it to the replica."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from asgd.algorithms.attacks import Attack
from asgd.parallel.draws import dealt
from asgd.task import Task
from asgd.worker.batches import WAIT, Lease, LeasedBatch, Waiting
from asgd.worker.data import open_batches
from asgd.worker.devices import to_device
from asgd.worker.flat import Flat
from asgd.worker.leases import Leasing
from asgd.worker.nested import micro_batches
from asgd.worker.replica import Replica

Gradient = Callable[[LeasedBatch], float]


def train(
    task: Task, replica: Replica, leases: Leasing, leaving: Callable[[], bool], gradient: Gradient
) -> str:
    """Trains until the job stops or `leaving` (SIGTERM): the push in flight is finished. Returns why it ended.

    `gradient` leaves that of a batch in `replica.flat` and returns the batch's loss.
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
                loss = gradient(studied(item, replica.attack))
            replica.step(item.samples, loss, item.visits)
        with replica.meters.timed("data"):
            item = next(batches, None)
    replica.flush()
    return replica.stop


def studied(item: LeasedBatch, attack: Attack | None) -> LeasedBatch:
    """The batch as an honest worker, or this one, looks at it."""
    return LeasedBatch(attack.study(item.batch), item.samples, item.visits) if attack else item


def backward(task: Task, flat: Flat, device: torch.device, item: LeasedBatch) -> float:
    """The gradient of the batch's mean loss, accumulated over `task.accumulate` micro-batches; returns the loss."""
    flat.zero()
    batch: Any = to_device(item.batch, device)
    parts = micro_batches(batch, task.accumulate)
    if len(parts) == 1:
        return _add(task, *parts[0])
    total = 0.0
    with dealt(len(parts), device) as draws:
        for (part, share), own in zip(parts, draws, strict=True):
            with own.on(device):
                total += _add(task, part, share)
    return total


def _add(task: Task, part: Any, share: float) -> float:
    """Adds a micro-batch's share to the gradients; returns its share of the loss."""
    loss: Tensor = task.loss(task.model, part)
    (loss if share == 1.0 else loss * share).backward()  # type: ignore[no-untyped-call]
    return float(loss.detach()) * share
