"""What a script's data are like, as far as all workers of its job must read the same: told when its loop begins.

Compared is what `until_stopped` deals out: the data of a map-style loader, or a list. A stream can't be looked at
without taking from it, and what a script shards by itself, or passes with `deal=False`, may differ on purpose.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from asgd.wire.agreement import Part, describe, with_samples
from asgd.worker.own.order import Order, shards_itself
from asgd.worker.own.sharing import is_count
from asgd.worker.replica import Replica
from asgd.worker.task.agreeing import SAMPLES, samples_of


class Comparing:
    """Of the first data that a script's loop reads the servers are told; once."""

    def __init__(self, replica: Replica) -> None:
        self._replica, self._told = replica, False

    def dealt(self, loader: DataLoader[Any], order: Order) -> bytes:
        """`Hello.digest` of a worker that is dealt `loader` in `order`; whoever calls tells it."""
        return self._digest(lambda: samples_dealt(loader, order))

    def shared(self, items: Any) -> None:
        """The loop goes over every n-th batch of `items`. Raises UserError when other workers' differ."""
        before = self._replica.centre.identity.digest
        digest = self._digest(lambda: samples_shared(items))
        if digest != before:
            self._replica.describe(digest)

    def _digest(self, find: Callable[[], list[Part]]) -> bytes:
        digest = self._replica.centre.identity.digest
        samples = [] if self._told else find()
        self._told |= bool(samples)
        return with_samples(digest, samples)


def samples_dealt(loader: DataLoader[Any], order: Order) -> list[Part]:
    """Of a loader that is dealt by leases, called by their places in the order of its data."""
    return samples_of(_apart(loader.dataset), range(order.size) if order.indices is None else order.indices)


def samples_shared(items: Any) -> list[Part]:
    """Of what worker i of n takes each n-th batch of, with their number, which nobody else compares."""
    data: Any = items
    if isinstance(items, DataLoader):
        data = None if isinstance(items.dataset, IterableDataset) or shards_itself(items) else items.dataset
    elif not isinstance(items, list | tuple) or (items and is_count(items[0])):
        data = None
    size = len(data) if hasattr(data, "__len__") else 0
    found = samples_of(_apart(data), range(size)) if size else []
    return [describe("sample count", size), *found[: SAMPLES - 1]] if found else []


def _apart(data: Any) -> Any:
    """A shallow copy, also of data within data (`Subset`, `ConcatDataset`).

    NB: many datasets open a file at their first sample and keep it; loader processes that are forked later must not
    share one with this process.
    """
    try:
        apart = copy.copy(data)
        if hasattr(apart, "dataset"):
            apart.dataset = _apart(apart.dataset)
        if isinstance(inner := getattr(apart, "datasets", None), Sequence):
            apart.datasets = [_apart(each) for each in inner]
    except Exception:
        # Users' data may raise anything.
        return data
    return apart
