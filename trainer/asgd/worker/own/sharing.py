"""Data that nobody can deal out by leases: worker i of n takes each n-th batch, counted from the i-th.

A stream, a loader with a sampler of its own, a list of batches, a generator. What a lost worker would have taken is not
taken by others; a worker beyond the job's replicas takes some again. Numbers alone (epochs, steps) are no data.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from itertools import islice
from numbers import Number
from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from asgd.worker.own.dealing import with_sampler
from asgd.worker.own.order import shards_itself


class EachNth:
    """Of `items` those at places index, index + count, ..."""

    def __init__(self, items: Any, index: int, count: int) -> None:
        self._items, self._index, self._count = items, index, count

    def __iter__(self) -> Iterator[Any]:
        return islice(iter(self._items), self._index, None, self._count)

    def __len__(self) -> int:
        return len(range(self._index, len(self._items), self._count))


def share(items: Iterable[Any], index: int, count: int) -> Iterable[Any]:
    """Worker `index`'s part of `items`, of `count` workers."""
    if count == 1:
        return items
    if not isinstance(items, DataLoader):
        return _data_only(items, index, count)
    if shards_itself(items):
        return items
    if isinstance(items.dataset, IterableDataset):
        return EachNth(items, index, count)
    # NB: what others take is not even read.
    return with_sampler(items, EachNth(items.batch_sampler or items.sampler, index, count))


def _data_only(items: Iterable[Any], index: int, count: int) -> Iterator[Any]:
    counted = False
    for number, item in enumerate(items):
        if number == 0:
            counted = is_count(item)
        if counted or number % count == index:
            yield item


def is_count(item: Any) -> bool:
    """Numbers alone, as loops over epochs have them."""
    if isinstance(item, tuple):
        return all(is_count(part) for part in item)
    return item is None or (isinstance(item, Number) and not isinstance(item, Mapping))
