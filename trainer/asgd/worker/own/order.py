"""Which loaders can be dealt out by leases, and what a range of positions means for each of them.

A `DataLoader` can be dealt when its data is map-style and its sampler is one of PyTorch's that visit every sample once:
`shuffle=True` follows the job's order, `shuffle=False` the dataset's, `SubsetRandomSampler` the job's order over its
indices. Every other sampler means something of its own, and is left to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from torch.utils.data import (
    BatchSampler,
    DataLoader,
    IterableDataset,
    RandomSampler,
    SequentialSampler,
    SubsetRandomSampler,
)

from asgd.worker.reading.order import epoch_order


@dataclass(frozen=True, slots=True)
class Order:
    """An epoch of `size` samples. `seed` None: in the order of the dataset; `indices`: of these samples only."""

    size: int
    seed: int | None
    indices: Sequence[int] | None = None

    def at(self, epoch: int, start: int, stop: int) -> list[int]:
        """The samples at positions start..stop-1 of `epoch`."""
        if self.seed is None:
            return list(range(start, stop))
        chosen: list[int] = epoch_order(self.seed, epoch, self.size)[start:stop].tolist()
        return chosen if self.indices is None else [self.indices[place] for place in chosen]


def sampler_of(loader: DataLoader[Any]) -> Any:
    """What says which samples come; None where batches are made in a way of their own."""
    batches = loader.batch_sampler
    if batches is None:
        return loader.sampler
    return batches.sampler if type(batches) is BatchSampler else None


def order_of(loader: DataLoader[Any], seed: int) -> Order | None:
    """The order in which `loader` is dealt in a job of `seed`; None where it can't be."""
    if isinstance(loader.dataset, IterableDataset):
        return None
    sampler = sampler_of(loader)
    size = len(loader.dataset) if hasattr(loader.dataset, "__len__") else 0
    if type(sampler) is SubsetRandomSampler:
        indices = [int(index) for index in sampler.indices]
        return Order(len(indices), seed, indices) if indices else None
    if not size:
        return None
    if type(sampler) is SequentialSampler:
        return Order(size, None) if len(sampler) == size else None
    if type(sampler) is RandomSampler:
        whole = not sampler.replacement and sampler.num_samples == size == len(sampler.data_source)
        return Order(size, seed) if whole else None
    return None


def shards_itself(loader: DataLoader[Any]) -> bool:
    """Its sampler gives this process a share already (torch's DistributedSampler and its like)."""
    batches = loader.batch_sampler
    samplers = (loader.sampler, batches, getattr(batches, "sampler", None))
    return any(isinstance(share := getattr(s, "num_replicas", None), int) and share > 1 for s in samplers)
