"""Carries out what a worker's core wishes for on a torch model: the same in a process and in a replay.

The shards answer at once (`Centre`, by sockets) or, as a replay's tape has it, later: then the life stands still until
whoever has begun it resumes it with how the exchange went. A thread, if there is one, runs exchanges beside the steps.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Protocol, TypeVar

from torch import Tensor

from asgd.kernel import F32
from asgd.worker import wishes
from asgd.worker.core import WorkerCore
from asgd.worker.device.backward import Early, studied
from asgd.worker.device.vectors import FlatVectors
from asgd.worker.meters import Meters
from asgd.worker.reading.leased import LeasedBatch, Waiting
from asgd.worker.sending.headers import Outcome, PushHeader
from asgd.worker.sending.overlap import Overlap
from asgd.worker.wishes import Later

Result = TypeVar("Result")
Gradient = Callable[[LeasedBatch, Early], float]
"""Leaves the gradient of a batch in the worker's vectors and returns its loss; may tell `Early` before."""


class Exchanges(Protocol):
    """All shards behind one push and one pull."""

    def join(self, bring: Callable[[], F32]) -> str:
        """Joins every shard; `bring` gives this worker's own (N,) weights. Returns why the job is over, if it is."""

    def exchange(
        self, push: F32 | None, pull: F32 | None, meta: PushHeader, source: Any = None
    ) -> Outcome | Later:
        """Pushes the (N,) vector `push`, which `source` may still fill, and pulls into `pull` (N,); see `Centre`."""

    def leave(self, reason: str = "") -> None:
        """Says goodbye to every shard."""


@dataclass(slots=True)
class Reading:
    """What `asgd worker` computes, and on what; a script does both itself."""

    batches: Iterator[LeasedBatch | Waiting]
    gradient: Gradient


class Granting:
    """The core's wishes, granted with a model and `centre`.

    `thread` runs exchanges of cores that overlap and pushes that leave while their gradient is computed (`overlap`).
    Without one the former begin at once, the latter when the gradient is there.
    """

    def __init__(
        self, core: WorkerCore, vectors: FlatVectors, centre: Exchanges, meters: Meters, *,
        thread: Executor | None = None, overlap: Overlap | None = None, pause: Callable[[float], None],
    ) -> None:  # fmt: skip
        self.core, self.vectors, self.meters, self.overlap = core, vectors, meters, overlap
        self.reading: Reading | None = None
        self.between: Callable[[], None] = lambda: None
        """Called before each batch is read: what the step before it has come to may be looked at."""
        self.early: Future[Outcome | Later | None] | None = None
        """A push that has left while its gradient was computed."""
        self._shards, self._thread = centre, thread
        self._asked: tuple[Any, Any, PushHeader] | None = None
        """An exchange that runs when it is waited for."""
        self._flying: Future[Outcome | Later] | None = None
        self._ways: dict[type[wishes.Wish], Callable[[Any], Any]] = {
            wishes.Join: lambda wish: self._join(),
            wishes.Exchange: self._exchange,
            wishes.Await: lambda wish: self._await(),
            wishes.Next: lambda wish: self._next(),
            wishes.Compute: self._compute,
            wishes.Sleep: lambda wish: pause(wish.seconds),
            wishes.Leave: lambda wish: self._leave(wish.reason),
        }

    def resume(self, life: wishes.Life[Result], answer: Any = None) -> Result | Later:
        """Carries out a part of the core's life, from `answer` on; its result, or LATER where it stands still.

        Raises what the core, a user's code or the centre raises.
        """
        result = wishes.resume(life, self._ways, answer)
        if not isinstance(result, Later):
            self.vectors.flat.scatter()
        return result

    def _join(self) -> str:
        return self._shards.join(lambda: self.vectors.push.out(self.vectors.weights))

    def _next(self) -> LeasedBatch | Waiting | None:
        assert self.reading is not None
        self.between()
        with self.meters.timed("data"):
            return next(self.reading.batches, None)

    def _compute(self, wish: wishes.Compute) -> wishes.Computed:
        assert self.reading is not None
        with self.meters.timed("compute"):
            loss = self.reading.gradient(studied(wish.item, self.core.attack), self.pushing)
        return wishes.Computed(loss, left=self.early is not None)

    def _leave(self, reason: str) -> None:
        self._shards.leave(reason)

    # -- exchanges -----------------------------------------------------------------------------------

    def _exchange(self, wish: wishes.Exchange) -> None:
        asked = wish.push, self.vectors.into if wish.pull else None, wish.meta
        if not self.core.overlapped:
            self._asked = asked
        elif self._thread:
            self._flying = self._thread.submit(self._timed, *asked)
        else:
            self._flying = _at_once(self._timed, *asked)

    def _timed(self, push: Any, into: Any, meta: PushHeader) -> Outcome | Later:
        with self.meters.timed("exchange"):
            return self._shards.exchange(push, into, meta)

    def _await(self) -> Outcome | Later | None:
        if self._asked is not None:
            asked, self._asked = self._asked, None
            return self._timed(*asked)
        if self.early is not None:
            early, self.early = self.early, None
            # NB: what a step waits for is all that an exchange costs here; the rest runs beside the backward pass.
            with self.meters.timed("exchange"):
                return early.result()
        assert self._flying is not None
        flying, self._flying = self._flying, None
        with self.meters.timed("wait"):
            return flying.result()

    # -- pushes that leave while their gradient is computed ------------------------------------------

    @contextmanager
    def pushing(self, item: LeasedBatch, loss: Tensor, before: float, share: float) -> Iterator[None]:
        """Around the last backward pass of a batch, whose loss is `before` + `loss` x `share`; then comes `step`.

        The gradient leaves as it is computed, unless the loss is not finite.
        """
        overlap = self.overlap
        if overlap is None or overlap.given_up:
            yield
            return
        overlap.begin()
        pushed: tuple[Overlap, PushHeader, Callable[[], float]] | None = None
        if overlap.trusted and self.core.leaves_early:
            pushed = overlap, self.core.early(item), overlap.loss(loss, before, share)
        if pushed and self._thread:
            self.early = self._thread.submit(self._push_early, *pushed)
        with overlap.computing():
            yield
        if pushed and not self._thread:
            self.early = _at_once(self._push_early, *pushed)

    def _push_early(
        self, overlap: Overlap, meta: PushHeader, loss: Callable[[], float]
    ) -> Outcome | Later | None:
        """In the exchange's thread; None when the loss says that there is nothing to push like that."""
        meta.loss = loss()
        if not math.isfinite(meta.loss):
            return None
        return self._shards.exchange(overlap.vector, self.vectors.into, meta, overlap)


def _at_once(act: Callable[..., Result], *given: Any) -> Future[Result]:
    """As a thread would do it, but here: what it raises is raised to whoever waits for it."""
    future: Future[Result] = Future()
    try:
        future.set_result(act(*given))
    except Exception as error:
        future.set_exception(error)
    return future
