"""The two ways a worker reads batches: ranges of the job's order by lease, or a stream of its own.

A leased batch names the range it covers, so that the coordinator knows what was visited when the push
arrives. What was leased or prefetched and never pushed is simply never named, and goes back to the pool.
PyTorch's `DataLoader` does the loading in both. Which data is read in which way is decided in `data.py`; who
gets which lease, by the coordinator.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import count
from typing import Any

from torch.utils.data import DataLoader

from asgd.worker.reading.leased import WAIT, Lease, LeasedBatch, NextLease, Waiting, cut
from asgd.worker.reading.nested import count_samples
from asgd.worker.reading.order import epoch_order


class LeasedBatches:
    """Batches of a map-style dataset in the order of the leases that `next_lease` gives; see `NextLease`.

    A batch never crosses a lease, so the last one of a lease may be short. Samples come from `__getitems__`
    when the dataset has it. With `data_workers` > 0 as many processes load ahead, two batches each.
    """

    def __init__(
        self,
        dataset: Any,
        batch_size: int,
        seed: int,
        collate: Callable[[list[Any]], Any] | None,
        data_workers: int,
        next_lease: NextLease,
    ) -> None:
        self._dataset = dataset
        self._collate = collate
        self._data_workers = data_workers
        self._rounds = _Rounds(len(dataset), batch_size, seed, next_lease)

    def __iter__(self) -> Iterator[LeasedBatch | Waiting]:
        rounds = self._rounds
        # NB: the loader lives in this frame only. In a cycle of references the garbage collector would close
        # its queues before it can stop its processes, which takes 5 seconds for each of them.
        loader: DataLoader[Any] = DataLoader(
            self._dataset,
            batch_sampler=rounds,
            collate_fn=self._collate,
            num_workers=self._data_workers,
            persistent_workers=self._data_workers > 0,
        )
        while not rounds.over:
            rounds.asked.clear()
            for batch in loader:
                # NB: DataLoader keeps the sampler's order, whichever process is done first.
                visit = rounds.asked.popleft()
                yield LeasedBatch(batch, visit[2] - visit[1], (visit,))
            if not rounds.over:
                yield WAIT


class _Rounds:
    """The batch sampler: index lists of the leases, and in `asked` the ranges they cover, oldest first.

    It has no length, as leases come one by one. No lease for now ends a round, which lets all prefetched
    batches out; no lease any more ends it and sets `over`.
    """

    def __init__(self, size: int, batch_size: int, seed: int, next_lease: NextLease) -> None:
        self._size = size
        self._batch_size = batch_size
        self._seed = seed
        self._next_lease = next_lease
        self.asked: deque[Lease] = deque()
        self.over = False

    def __iter__(self) -> Iterator[list[int]]:
        while not isinstance(lease := self._next_lease(), Waiting):
            if lease is None:
                self.over = True
                return
            order = epoch_order(self._seed, lease[0], self._size)
            for part in cut(lease, self._batch_size):
                self.asked.append(part)
                yield order[part[1] : part[2]].tolist()


class StreamedBatches:
    """Batches of a loader again and again; `passes` counts the complete ones. A pass without any ends it."""

    def __init__(self, loader: Iterable[Any]) -> None:
        self._loader = loader
        self.passes = 0

    def __iter__(self) -> Iterator[LeasedBatch]:
        usual = getattr(self._loader, "batch_size", None)
        for self.passes in count():
            _set_epoch(self._loader, self.passes)
            empty = True
            for batch in self._loader:
                empty = False
                yield LeasedBatch(batch, count_samples(batch, usual))
            if empty:
                return


def _set_epoch(loader: Any, epoch: int) -> None:
    """Tells the number of the pass to all that may shuffle by it: samplers, datasets, wrapped loaders."""
    batch_sampler = getattr(loader, "batch_sampler", None)
    parts = [
        loader,
        getattr(loader, "sampler", None),
        batch_sampler,
        getattr(batch_sampler, "sampler", None),
        getattr(loader, "dataset", None),
    ]
    told: list[Any] = []
    for part in parts:
        if hasattr(part, "set_epoch") and not any(part is other for other in told):
            part.set_epoch(epoch)
            told.append(part)
