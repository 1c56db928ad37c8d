"""A worker in real time: the core's wishes granted with a model, threads and sockets that are handed in.

`asgd worker` runs its core's whole life, `asgd.connect()` one step after the other. With `exchange.ahead: 1` exchanges
run in a thread while the next step computes. `assemble.py` puts one together.
"""

from __future__ import annotations

import time
from concurrent.futures import Executor
from dataclasses import replace
from functools import partial
from typing import TypeVar

from asgd.spec.phases import WAIT
from asgd.worker import wishes
from asgd.worker.core import WorkerCore
from asgd.worker.device.vectors import FlatVectors
from asgd.worker.granting import Granting
from asgd.worker.meters import Meters
from asgd.worker.reading.leased import Visits
from asgd.worker.sending.centre import Centre
from asgd.worker.sending.headers import PeerIdentity
from asgd.worker.sending.heartbeat import Heartbeat
from asgd.worker.sending.overlap import Overlap

Result = TypeVar("Result")


class Replica(Granting):
    """A model between the user's loop and the centre; see `Granting` for `thread` and `overlap`."""

    def __init__(
        self, core: WorkerCore, vectors: FlatVectors, centre: Centre, heartbeat: Heartbeat, meters: Meters, *,
        thread: Executor | None = None, overlap: Overlap | None = None,
    ) -> None:  # fmt: skip
        super().__init__(core, vectors, centre, meters, thread=thread, overlap=overlap, pause=self._pause)
        self.centre, self.heartbeat = centre, heartbeat
        self.closing = False
        if thread is None:
            centre.waits = partial(meters.phases.turn, WAIT)

    @property
    def stop(self) -> str:
        """Why the job is over; empty while it runs."""
        return self.core.stop

    def live(self, life: wishes.Life[Result]) -> Result:
        """Carries out a part of the core's life; returns its result. Raises what the core, a user's code or the centre
        raises."""
        result = self.resume(life)
        assert not isinstance(result, wishes.Later)
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

    def _join(self) -> str:
        with self.meters.phases.during(WAIT):
            stop = super()._join()
        self.heartbeat.start()
        return stop

    def _pause(self, seconds: float) -> None:
        with self.meters.phases.during(WAIT):
            time.sleep(seconds)

    def _leave(self, reason: str) -> None:
        self.closing = True
        if self._thread:
            self._thread.shutdown()
        if self.overlap:
            self.overlap.close()
        self.heartbeat.close()
        super()._leave(reason)
