"""A push that starts before the backward pass ends: hooks say which gradients are final, chunk by chunk.

Backward finishes the last layers first, and chunks are numbered from the vector's end, so the exchange's thread sends
them in order as they become whole. On the CPU a chunk leaves from where autograd accumulates it; on a GPU each whole
chunk is copied to pinned memory on a stream of its own and counts when the copy's event has passed. The first backward
pass is only watched: a model whose gradients are not final when their hook runs (reentrant checkpoints share a
parameter) is never overlapped. What may leave early at all is decided in `assemble.py`; decision 008 says why so.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from torch import Tensor

from asgd.errors import TryAgain, UserError
from asgd.host.say import say
from asgd.kernel import F32
from asgd.wire.partition import Range
from asgd.worker.device.accelerator import Staging
from asgd.worker.device.flat import Flat
from asgd.worker.sending.countdown import Countdown, chunks_of


def worthwhile(size: int, shards: int) -> bool:
    """Whether some shard has more than one chunk: else all that could leave early is the whole."""
    return any(len(chunks) > 1 for chunks in chunks_of(size, shards))


class Overlap:
    """The gradient in `flat` on its way to host memory while it is computed; what `Centre.exchange` asks.

    One backward pass at a time: `begin`, then the pass within `computing()`. `ready`, `held` and `check` are
    the exchange's thread's.
    """

    def __init__(self, flat: Flat, shards: int, staging: Staging) -> None:
        self._flat, self._staging = flat, staging
        by_shard = chunks_of(flat.size, shards)
        self._chunks = [chunk for chunks in by_shard for chunk in chunks]
        self._first = [sum(map(len, by_shard[:shard])) for shard in range(shards)]
        self._countdown = Countdown([Range(s.start, s.stop) for s in flat.spans], self._chunks)
        self._whole = [False] * len(self._chunks)
        self._copies: dict[int, Any] = {}
        self._newest: Any = None
        """The last of them to end."""
        self._computing = False
        self._failed, self._ended = False, False
        self._watched = False
        self._twice = ""
        """The parameter whose gradient was not final when its hook said so."""
        self.wakes = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        """A descriptor that is readable when there may be something new."""
        flat.watch(self._accumulated)

    @property
    def trusted(self) -> bool:
        """A backward pass was watched, and every gradient was final when it was said to be."""
        return self._watched and not self.given_up

    @property
    def given_up(self) -> bool:
        """This model's gradients can't be trusted before backward ends."""
        return bool(self._twice)

    @property
    def vector(self) -> F32:
        """The (N,) vector in host memory that pushes leave from; a chunk counts once it is `ready`."""
        return self._staging.place(self._flat.grads)

    def begin(self) -> None:
        """Nothing of the gradient is there."""
        self._countdown.restart()
        self._copies, self._newest = {}, None
        self._whole = [False] * len(self._chunks)
        self._failed, self._ended = False, False

    @contextmanager
    def computing(self) -> Iterator[None]:
        """A backward pass from `begin` on; at its end all is there."""
        self._computing = True
        try:
            yield
            self._computing = False
            self._flat.gather()
            self._arrived(self._countdown.rest())
            self._ended = True
        except BaseException:
            self._failed = True
            raise
        finally:
            self._computing = False
            self._wake()
        if self._twice:
            self._flat.unwatch()
            say(
                f"pushes wait for the end of backward: the gradient of {self._twice} is accumulated more than once"
                " in a backward pass"
            )
        self._watched = True

    def _accumulated(self, number: int) -> None:
        """Tensor `number` has its gradient; called by autograd, on a GPU in a thread of its own."""
        if not self._computing:
            return
        self._staging.follow()
        whole = self._countdown.done(number)
        if whole is None:
            self._again(number)
        elif whole:
            self._arrived(whole)
            self._wake()

    def _again(self, number: int) -> None:
        if self._twice:
            return
        self._twice = self._flat.layout[number][0]
        if self._watched:
            raise UserError(
                f"spec.exchange.overlap: the gradient of {self._twice} was accumulated twice in one backward pass,"
                " and a part of it may have been pushed; allowed: false for this model"
            )

    def _arrived(self, chunks: list[int]) -> None:
        for number in chunks:
            chunk = self._chunks[number]
            copy = self._staging.begin(self._flat.grads, slice(chunk.start, chunk.stop))
            if copy is not None:
                self._copies[number] = self._newest = copy
            # NB: last, for the exchange's thread looks at the copy once this is set.
            self._whole[number] = True

    def _wake(self) -> None:
        os.eventfd_write(self.wakes, 1)

    # -- the exchange's thread ---------------------------------------------------------------------

    def ready(self, shard: int, chunk: int) -> bool:
        """Whether chunk number `chunk` of a shard lies in `vector`."""
        number = self._first[shard] + chunk
        if not self._whole[number]:
            # NB: a shard without parameters has a chunk, of no tensor.
            return not self._chunks[number].size
        copy = self._copies.get(number)
        return copy is None or bool(copy.query())

    @property
    def copying(self) -> bool:
        """Copies are under way, whose end wakes nobody."""
        newest = self._newest
        return newest is not None and not newest.query()

    @property
    def complete(self) -> bool:
        """The backward pass has ended, and every copy has."""
        return self._ended and not self.copying

    def check(self) -> None:
        """Takes note of a wake-up. Raises TryAgain when the backward pass has failed: its worker ends."""
        with suppress(BlockingIOError):
            os.eventfd_read(self.wakes)
        if self._failed:
            raise TryAgain("the backward pass has failed while its push was on its way")

    def loss(self, loss: Tensor, before: float, share: float) -> Callable[[], float]:
        """`before` + the loss x `share`, once it is known; on a GPU nobody waits for it here."""
        known = self._staging.figure(loss)
        return lambda: before + known() * share

    def close(self) -> None:
        """The hooks go."""
        self._flat.unwatch()
        os.close(self.wakes)
