"""Deals a script's own `DataLoader` out to the job's workers: by the leases that tasks have, in the script's own loop.

The loader stays the user's (its dataset, `collate_fn`, processes, pinning, generator): only its sampler is another one
that follows the leases. A pass is one epoch of the job: it ends when all of the epoch is handed out to some worker. A
batch is visited with the push that follows it; what a loop reads and leaves out is told with its next request.
"""

from __future__ import annotations

import copy
from collections import deque
from collections.abc import Callable, Generator, Iterator
from typing import Any

from torch.utils.data import DataLoader

from asgd.errors import UserError
from asgd.wire.messages import Granted
from asgd.worker.own.order import Order
from asgd.worker.reading.leased import Lease, Leasing, first_of
from asgd.worker.sending.leases import Wanted


class Requests:
    """Asks `leasing` for the next range of a pass; `tell` says what is wanted of it."""

    def __init__(self, leasing: Leasing, tell: Callable[[Wanted], None], batch: int) -> None:
        self._leasing, self._tell, self._batch = leasing, tell, batch
        self.until = -1
        """The epoch of this pass; -1 before its first range."""
        self.past = -1
        """That of the pass before."""
        self.skipped: list[Lease] = []
        """Read and left out; told with the next request."""

    def next(self) -> Granted:
        self._tell(Wanted(self._batch, self.until, self.skipped))
        granted = self._leasing.next()
        self.skipped = []
        if granted.stop and self.until < 0:
            self.until = max(self.past + 1, granted.epoch)
        return granted


class LeasedSampler:
    """A batch sampler: index lists of the leases, and in `asked` the ranges that they cover, oldest first.

    It ends when there is no range for now, which lets all prefetched batches out; `ended` says why. `single`: it gives
    indices one by one, for loaders that make no batches.
    """

    def __init__(
        self, requests: Requests, order: Order, batch: int, *, drops_short: bool = False, single: bool = False
    ) -> None:
        self._requests, self._order, self._batch = requests, order, batch
        self._drops_short, self._single = drops_short, single
        self.asked: deque[Lease] = deque()
        self.open: deque[Lease] = deque()
        """Leased to this worker, and not read yet."""
        self.ended = Granted(wait=True)

    def take_back(self) -> None:
        """What was read ahead and never came out is read again."""
        self.open.extendleft(reversed(self.asked))
        self.asked.clear()

    def __iter__(self) -> Iterator[Any]:
        while self.open or self._lease():
            epoch, start, stop = self.open.popleft()
            last = first_of(start, stop, self._batch)
            if last < stop:
                self.open.appendleft((epoch, last, stop))
            if self._drops_short and last - start < self._batch:
                self._requests.skipped.append((epoch, start, last))
                continue
            self.asked.append((epoch, start, last))
            indices = self._order.at(epoch, start, last)
            yield indices[0] if self._single else indices

    def _lease(self) -> bool:
        granted = self._requests.next()
        if not granted.stop:
            self.ended = granted
            return False
        self.open.append((granted.epoch, granted.start, granted.stop))
        return True


class Dealing:
    """The script's batches over `order`.

    `over`: the job is; `pause`: pushes what waits for it, or lets a moment pass; `left`: the ranges of batches that
    came out and are in no push yet, which whoever makes the steps takes away.
    """

    def __init__(
        self, order: Order, batch: int, leasing: Leasing, tell: Callable[[Wanted], None], *,
        over: Callable[[], bool], pause: Callable[[], None],
    ) -> None:  # fmt: skip
        self.order, self.left = order, list[Lease]()
        self._leasing, self._over, self._pause = leasing, over, pause
        self._requests = Requests(leasing, tell, batch)
        self._open: deque[Lease] = deque()
        self._runs = False
        self._kept: tuple[Any, DataLoader[Any], LeasedSampler] | None = None
        """A loader whose processes outlive a pass, as the user asked for."""

    @property
    def epoch(self) -> int | None:
        """Of the newest pass that came to its end; None before."""
        return self._requests.past if self._requests.past >= 0 else None

    def batches(self, loader: DataLoader[Any], order: Order) -> Iterator[Any]:
        """One pass. Raises UserError when another one is under way, or when `order` is one of other data."""
        if order.size != self.order.size:
            raise UserError(
                f"optimizer.until_stopped(loader): {order.size} samples, and this job deals out {self.order.size};"
                " pass deal=False for data that is not dealt out (validation, a second training set)"
            )
        if self._runs:
            raise UserError(
                "optimizer.until_stopped(loader): the pass before is still under way, and a job deals one data set"
                " out; pass deal=False for the second one"
            )
        self._runs, self.order = True, order
        dealt, sampler = self._prepared(loader)
        sampler.open = self._open
        try:
            if (yield from self._pass(dealt, sampler)):
                self._requests.past = max(self._requests.past, self._requests.until)
        finally:
            sampler.take_back()
            self._open, self._runs, self._requests.until = sampler.open, False, -1

    def _pass(self, dealt: DataLoader[Any], sampler: LeasedSampler) -> Generator[Any, None, bool]:
        """Returns whether the epoch's end was reached."""
        fresh = True
        while not self._over():
            for batch in dealt:
                # NB: DataLoader keeps the sampler's order, whichever process is done first.
                visit = sampler.asked.popleft()
                if not self._leasing.holds((visit,)):
                    continue
                fresh = False
                self.left.append(visit)
                yield batch
                if self._over():
                    return False
            if sampler.ended.over or sampler.ended.passed:
                return True
            if not self.left:
                self._pause()
            elif fresh:
                self.skip()
            else:
                # NB: others may wait for what this loop has read and not stepped on: it has to decide now.
                return True
        return False

    def skip(self) -> None:
        """The loop made no step on what it has read: nobody needs to read it again."""
        self._requests.skipped += self.left
        self.left = []

    def settle(self) -> None:
        """The loop is over: what it left out is told."""
        self.skip()
        if self._requests.skipped:
            granted = self._requests.next()
            if granted.stop:
                self._open.append((granted.epoch, granted.start, granted.stop))

    def _prepared(self, loader: DataLoader[Any]) -> tuple[DataLoader[Any], LeasedSampler]:
        if self._kept and self._kept[0] is loader:
            return self._kept[1:]
        batches: Any = loader.batch_sampler
        sampler = LeasedSampler(
            self._requests, self.order, batches.batch_size if batches is not None else 1,
            drops_short=batches is not None and batches.drop_last, single=batches is None,
        )  # fmt: skip
        dealt = with_sampler(loader, sampler)
        if loader.persistent_workers:
            self._kept = loader, dealt, sampler
        # NB: a pass may wait for data again and again; its processes go with the pass.
        dealt.__dict__["persistent_workers"] = loader.num_workers > 0
        return dealt, sampler


def with_sampler(loader: DataLoader[Any], sampler: Any) -> DataLoader[Any]:
    """The user's loader, whatever its class, with another (batch) sampler.

    NB: PyTorch refuses to set these attributes, since a running iterator would not see it; the copy has none.
    """
    changed = copy.copy(loader)
    name = "sampler" if loader.batch_sampler is None else "batch_sampler"
    changed.__dict__.update({name: sampler, "_iterator": None})
    return changed
