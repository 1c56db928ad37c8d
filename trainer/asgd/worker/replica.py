"""A worker in real time: carries out what its core wishes for, with a model, threads and sockets that are handed in.

`asgd worker` runs its core's whole life, `asgd.connect()` one step after the other. With `exchange.ahead: 1` exchanges
run in a thread while the next step computes. `assemble.py` puts one together.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, Future
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, TypeVar

from torch import Tensor

from asgd.spec.phases import WAIT
from asgd.worker import wishes
from asgd.worker.core import WorkerCore
from asgd.worker.device.backward import Early, studied
from asgd.worker.device.vectors import FlatVectors
from asgd.worker.meters import Meters
from asgd.worker.reading.leased import LeasedBatch, Visits, Waiting
from asgd.worker.sending.centre import Centre
from asgd.worker.sending.headers import Outcome, PeerIdentity, PushHeader
from asgd.worker.sending.heartbeat import Heartbeat
from asgd.worker.sending.overlap import Overlap

Result = TypeVar("Result")
Gradient = Callable[[LeasedBatch, Early], float]
"""Leaves the gradient of a batch in the worker's vectors and returns its loss; may tell `Early` before."""


@dataclass(slots=True)
class Reading:
    """What `asgd worker` computes, and on what; a script does both itself."""

    batches: Iterator[LeasedBatch | Waiting]
    gradient: Gradient


class Replica:
    """A model between the user's loop and the centre.

    `thread` runs exchanges beside the steps, for cores that overlap and for pushes that leave while their gradient is
    computed (`overlap`); without one they run here.
    """

    def __init__(
        self, core: WorkerCore, vectors: FlatVectors, centre: Centre, heartbeat: Heartbeat, meters: Meters, *,
        thread: Executor | None = None, overlap: Overlap | None = None,
    ) -> None:  # fmt: skip
        self.core, self.vectors, self.centre, self.heartbeat, self.meters = (
            core,
            vectors,
            centre,
            heartbeat,
            meters,
        )
        self.reading: Reading | None = None
        self.closing = False
        self.between: Callable[[], None] = lambda: None
        """Called before each batch is read: what the step before it has come to may be looked at."""
        self._thread, self.overlap = thread, overlap
        if thread is None:
            centre.waits = partial(meters.phases.turn, WAIT)
        self._asked: tuple[Any, Any, PushHeader] | None = None
        """An exchange that runs when it is waited for."""
        self._flying: Future[Outcome] | None = None
        self.early: Future[Outcome | None] | None = None
        """A push that has left while its gradient was computed."""
        self._ways: dict[type[wishes.Wish], Callable[[Any], Any]] = {
            wishes.Join: self._join,
            wishes.Exchange: self._exchange,
            wishes.Await: self._await,
            wishes.Next: self._next,
            wishes.Compute: self._compute,
            wishes.Sleep: self._sleep,
            wishes.Leave: self._leave,
        }

    @property
    def stop(self) -> str:
        """Why the job is over; empty while it runs."""
        return self.core.stop

    def live(self, life: wishes.Life[Result]) -> Result:
        """Carries out a part of the core's life; returns its result. Raises what the core, a user's code or the centre
        raises."""
        result = wishes.resume(life, self._ways)
        assert not isinstance(result, wishes.Later)
        self.vectors.flat.scatter()
        return result

    # -- what scripts with a loop of their own call ------------------------------------------------

    def join(self) -> str:
        """Joins all shards and takes their weights; returns why the job is over, if it is."""
        return self.live(self.core.join())

    def declare(self, dataset: int, guarantee: str, digest: bytes) -> None:
        """The script deals data of `dataset` samples; the servers are told, at once if this worker has joined."""
        self.core.declare(dataset)
        self._introduce(replace(self.centre.identity, dataset=dataset, guarantee=guarantee, digest=digest))

    def describe(self, digest: bytes) -> None:
        """What the script's data and model are like; the servers are told, at once if this worker has joined."""
        self._introduce(replace(self.centre.identity, digest=digest))

    def _introduce(self, identity: PeerIdentity) -> None:
        if self.heartbeat.beats:
            self.flush()
        self.centre.introduce(identity)

    def wait(self) -> None:
        """There is no data for now: what is computed and not pushed goes out, or a moment passes."""
        self.live(self.core.wait())

    def step(self, samples: int, loss: float | None, visits: Visits = ()) -> str:
        """After a backward pass over `samples` samples; returns why the job stops, or ''."""
        return self.live(self.core.step(samples, loss, visits, left=self.early is not None))

    def flush(self, changed: bool = False) -> str:
        """Pushes local steps that are not pushed yet, and what was `changed` beside them; waits for an exchange."""
        return self.live(self.core.flush(changed))

    def close(self, reason: str = "") -> None:
        """Finishes what is on its way and says goodbye to every shard."""
        self.live(self.core.leave(reason))

    def fail(self, why: str) -> None:
        """This worker ends at once, unless it has said goodbye already: its exchange under way waits for nobody.

        NB: Python waits for the exchange's thread before it ends.
        """
        if not self.closing:
            self.centre.patience.give_up(why)
            self.close("failed")

    # -- wishes ------------------------------------------------------------------------------------

    def _join(self, wish: wishes.Join) -> str:
        with self.meters.phases.during(WAIT):
            stop = self.centre.join(lambda: self.vectors.push.out(self.vectors.weights))
        self.heartbeat.start()
        return stop

    def _sleep(self, wish: wishes.Sleep) -> None:
        with self.meters.phases.during(WAIT):
            time.sleep(wish.seconds)

    def _exchange(self, wish: wishes.Exchange) -> None:
        asked = wish.push, self.vectors.into if wish.pull else None, wish.meta
        if self._thread and self.core.overlapped:
            self._flying = self._thread.submit(self._timed, *asked)
        else:
            self._asked = asked

    def _timed(self, push: Any, into: Any, meta: PushHeader) -> Outcome:
        with self.meters.timed("exchange"):
            return self.centre.exchange(push, into, meta)

    def _await(self, wish: wishes.Await) -> Outcome | None:
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

    def _next(self, wish: wishes.Next) -> LeasedBatch | Waiting | None:
        assert self.reading is not None
        self.between()
        with self.meters.timed("data"):
            return next(self.reading.batches, None)

    def _compute(self, wish: wishes.Compute) -> wishes.Computed:
        assert self.reading is not None
        with self.meters.timed("compute"):
            loss = self.reading.gradient(studied(wish.item, self.core.attack), self.pushing)
        return wishes.Computed(loss, left=self.early is not None)

    def _leave(self, wish: wishes.Leave) -> None:
        self.closing = True
        if self._thread:
            self._thread.shutdown()
        if self.overlap:
            self.overlap.close()
        self.heartbeat.close()
        self.centre.leave(wish.reason)

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
        if overlap.trusted and self.core.leaves_early and self._thread:
            meta = self.core.early(item)
            self.early = self._thread.submit(
                self._push_early, overlap, meta, overlap.loss(loss, before, share)
            )
        with overlap.computing():
            yield

    def _push_early(self, overlap: Overlap, meta: PushHeader, loss: Callable[[], float]) -> Outcome | None:
        """In the exchange's thread; None when the loss says that there is nothing to push like that."""
        meta.loss = loss()
        if not math.isfinite(meta.loss):
            return None
        return self.centre.exchange(overlap.vector, self.vectors.into, meta, overlap)
