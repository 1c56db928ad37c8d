"""Parameter servers in virtual time: the very same `ServerCore` as in a process, driven by the event queue.

A server takes one message after the other, each for its cost; what it says leaves by the simulated network. With a
store (`store.py`) it saves, and may crash and start again from what the store holds. Nothing is decided here.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

import numpy as np

from asgd.drivers.virtual.clock import Clock
from asgd.drivers.virtual.network import Network
from asgd.kernel import F32
from asgd.server.answers import PRIMARY, Sender
from asgd.server.coordinator import Coordinator
from asgd.server.core import ServerCore
from asgd.server.dispatch import Dispatch
from asgd.server.rollback import Rollback
from asgd.server.saves.in_process import MemoryStore
from asgd.server.saves.saver import carry_out
from asgd.server.saving import StoreFacts, WritePart
from asgd.server.shard import Shard
from asgd.server.traffic import Traffic
from asgd.spec.autoscaling import sized
from asgd.spec.status import Status
from asgd.spec.types import Job
from asgd.wire.messages import OF_AVERAGE, AnyMessage, Beat, Bye, Exchange, Hello, Init, Message, Pull
from asgd.worker.oracle import Judge
from asgd.world.models import World


class VirtualServer(Dispatch):
    """Shard `index` of the job. `core` is its process of this moment; None while it is down."""

    def __init__(self, cluster: Cluster, index: int, starts: int = 0) -> None:
        self.cluster, self.index = cluster, index
        self.owner = ("server", index)
        self.core: ServerCore | None = None
        self._waiting: deque[tuple[Sender, AnyMessage, Any]] = deque()
        self._busy = False
        self.starts = starts
        """How often its process has begun."""
        self._lives = 0
        self.start()

    @property
    def shard(self) -> Shard:
        assert self.core is not None
        return self.core.shard

    @property
    def traffic(self) -> Traffic:
        assert self.core is not None
        return self.core.traffic

    # -- its process -----------------------------------------------------------------------------------------

    def start(self, back: Rollback | None = None) -> None:
        """A fresh process, in the next term, goes on from what the store holds, with `back` from an older save."""
        cluster, store = self.cluster, self.cluster.store
        self.starts += 1
        term = store.claim_term(self.index) if store else 1
        found = store.restored(self.index, cluster.clock.now, back) if store else None
        if store and back and found:
            store.undo(found.number, self.index)
        facts = StoreFacts("memory:", store.newest_begun, store.complete) if store else None
        rollbacks = found.rollbacks if found else 0
        self.core = ServerCore(cluster.job, self.index, term, store=facts, rollbacks=rollbacks)
        cluster.observe(self.core)
        self.core.restore(found, cluster.clock.now)

    def crash(self) -> None:
        """Its process is gone, with all that was not saved and all that was on its way to it."""
        self.core, self._busy = None, False
        self._waiting.clear()
        self._lives += 1

    def pass_time(self) -> None:
        """A tenth of a second has passed."""
        core = self.core
        if core is None:
            return
        self.tick(core)
        self._save(core)
        if back := core.back(self.now()):
            self.crash()
            self.start(back)

    # -- messages --------------------------------------------------------------------------------------------

    def ask(self, message: AnyMessage) -> Message | None:
        """The answer to somebody beside the server, at once and not over the network; None while it is down."""
        if self.core is None:
            return None
        beside = "beside", type(message), getattr(message, "index", None)
        answers = self.core.receive(beside, message, None, self.cluster.clock.now)
        self._go_on(self.core)
        return answers[0][1] if answers else None

    def receive(self, sender: Any, message: AnyMessage, payload: Any) -> None:
        """A message has arrived; it is served when those before it are.

        `sender` is PRIMARY, or a lane: `owner` names its process to the network, answers come to its `arrived`.
        """
        if self.core is None:
            return
        self._waiting.append((sender, message, payload))
        if not self._busy:
            self._serve_next()

    def arrived(self, message: AnyMessage, payload: Any) -> None:
        """Shard 0 has answered, or ordered something."""
        self.receive(PRIMARY, message, payload)

    def _serve_next(self) -> None:
        while self._waiting:
            cost = self._cost(*self._waiting[0])
            if cost:
                self._busy = True
                self.traffic.served("pull" if isinstance(self._waiting[0][1], Pull) else "push", cost)
                self.cluster.clock.after(cost, self._alive(self._served))
                return
            self._serve(*self._waiting.popleft())

    def _cost(self, sender: Sender, message: AnyMessage, payload: Any) -> float:
        """Seconds that a worker's message takes; beats, leases and what servers tell each other are next to nothing."""
        world = self.cluster.world
        if not isinstance(message, Exchange | Pull | Hello | Init | Bye):
            return 0.0
        return world.server_seconds + world.server_seconds_per_byte * (
            0 if payload is None else payload.nbytes
        )

    def _served(self) -> None:
        self._busy = False
        self._serve(*self._waiting.popleft())
        self._serve_next()

    def _serve(self, sender: Sender, message: AnyMessage, payload: Any) -> None:
        core = self.core
        assert core is not None
        self.serve(core, sender, message, _bytes(payload))
        self._go_on(core)

    def _go_on(self, core: ServerCore) -> None:
        """What the core can do now that it could not before."""
        self.settle(core)
        self._save(core)

    def now(self) -> float:
        return self.cluster.clock.now

    def send(self, to: Any, message: Message, body: Any) -> None:
        network, body = self.cluster.network, None if body is None else np.array(body)
        if to == PRIMARY:
            first = self.cluster.servers[0]
            network.send(self.owner, first.owner, message, 0, lambda: first.receive(self, message, None))  # type: ignore[arg-type]  # a core sends no bare Message
            return
        size = 0 if body is None else body.nbytes
        network.send(self.owner, to.owner, message, size, lambda: to.arrived(message, _bytes(body)))

    # -- saving ----------------------------------------------------------------------------------------------

    def _save(self, core: ServerCore) -> None:
        """Has the store do what is due; what it is to write is copied now, and is there when its time has passed."""
        store, clock = self.cluster.store, self.cluster.clock
        wish = core.wish(clock.now) if store else None
        if store is None or wish is None:
            return
        work = wish
        if isinstance(wish, WritePart):
            work = replace(wish, arrays={name: array.copy() for name, array in wish.arrays.items()})

        def written() -> None:
            outcome = replace(carry_out(store, work, lambda: clock.now), wish=wish)
            if outcome.fenced:
                self.crash()
                return
            core.done(outcome, clock.now)
            self._go_on(core)

        if store.seconds != float("inf"):
            clock.after(store.seconds, self._alive(written))

    def _alive(self, action: Callable[[], None]) -> Callable[[], None]:
        """`action`, unless the process that asked for it is gone by then."""
        life = self._lives
        return lambda: action() if self._lives == life else None


class Cluster:
    """All shards of a job on `world`; `store` None: nothing is saved. `observe` is shown the core of each start."""

    def __init__(
        self, job: Job, world: World, clock: Clock, store: MemoryStore | None = None, network: Network | None = None,
        observe: Callable[[ServerCore], None] = lambda core: None,
    ) -> None:  # fmt: skip
        self.job, self.world, self.clock, self.store = job, world, clock, store
        self.network, self.observe = network or Network(clock, world), observe
        self.replaced: list[VirtualServer] = []
        """Servers that still live though a newer one of their shard has started; they are to find out."""
        self.oracle: Callable[[int, Iterable[F32]], list[float]] | None = None
        """Losses at points (`worker/oracle.py`); None: the oracle is away."""
        self.servers = [VirtualServer(self, index) for index in range(job.spec.parameter_server.shards)]
        self._oracle = VirtualOracle(self)

    @property
    def coordinator(self) -> Coordinator:
        """Shard 0's."""
        core = self.servers[0].core
        assert core is not None and core.primary is not None
        return core.primary.coordinator

    def tick(self) -> None:
        """What happens every tenth of a second."""
        self._oracle.beat()
        for server in (*self.servers, *self.replaced):
            server.pass_time()
        self.replaced = [server for server in self.replaced if server.core]

    def replace(self, index: int) -> None:
        """Starts the next server of a shard while the one before it lives on, taken for dead."""
        before = self.servers[index]
        if before.core:
            self.replaced.append(before)
        self.servers[index] = VirtualServer(self, index, before.starts)

    def resize(self, workers: int) -> None:
        """The job shall have so many workers; servers that start later know it too."""
        self.job = sized(self.job, workers)
        core = self.servers[0].core
        if core is not None and core.primary is not None:
            core.primary.change(self.job.spec)

    def lost(self, index: int, incarnation: int) -> None:
        """A worker's death was noticed by who had started it."""
        for server in self.servers:
            server.ask(Bye("worker", index, incarnation, lost=True))

    # -- what it looks like ------------------------------------------------------------------------------------

    def pull(self, of: int = -1) -> F32:
        """What an evaluator pulls: the job's answer (N,), or what else `Pull.of` names."""
        asked = Pull("evaluator", 0, 1, chunk=0, request=0, of=of)
        shards = [server.shard for server in self.servers]
        parts = [shard.weights(asked, -1, shard.chunks) for shard in shards]
        return np.concatenate([part for part in parts if part is not None])

    def average(self) -> F32:
        """The (N,) moving average of the centre (`evaluation.ema`)."""
        return self.pull(OF_AVERAGE)

    def status(self) -> Status:
        """The job at this moment, as shard 0 tells it."""
        core = self.servers[0].core
        assert core is not None and core.primary is not None
        return core.primary.status(self.clock.now)


class VirtualOracle:
    """Zeno's oracle beside shard 0: answers each question as soon as it hears it, while `cluster.oracle` is there."""

    owner = ("oracle", 0)

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._judge = Judge(self._losses, cluster.pull)

    def _losses(self, version: int, points: Iterable[F32]) -> list[float]:
        assert self._cluster.oracle
        return self._cluster.oracle(version, points)

    def beat(self) -> None:
        """Its sign of life."""
        first = self._cluster.servers[0]
        if self._cluster.oracle and first.core and first.core.rounds and first.core.rounds.inquiry:
            first.receive(self, Beat("evaluator", 0, 1), None)
            first.receive(self, self._judge.answer, None)

    def arrived(self, message: AnyMessage, payload: Any) -> None:
        """Shard 0 asks something."""
        if self._cluster.oracle and self._judge.hear(message):
            self._cluster.servers[0].receive(self, self._judge.answer, None)


def _bytes(payload: Any) -> Any:
    return None if payload is None else memoryview(payload).cast("B")
