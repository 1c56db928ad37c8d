"""Parameter servers in virtual time: the very same `Shard` and `Coordinator`, fed by the simulated network.

What `server/service.py` and `server/chief.py` do around them with sockets is done here with the event queue: one
message after the other, pulls that must wait are parked and asked again after each change. Nothing is saved.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from functools import partial
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from asgd.algorithms.registry import strategy
from asgd.algorithms.rounds import RoundServer
from asgd.drivers.virtual.clock import Action, Clock
from asgd.drivers.virtual.models import World
from asgd.drivers.virtual.network import Network
from asgd.kernel import F32
from asgd.server.coordinator import Coordinator
from asgd.server.metrics import Traffic
from asgd.server.round_table import RoundPart, RoundTable
from asgd.server.shard import Parked, Shard
from asgd.server.view import build_status
from asgd.spec.status import Status
from asgd.spec.types import Job
from asgd.wire.messages import (
    AnyMessage,
    Bye,
    Decided,
    Done,
    Exchange,
    Fault,
    Gathered,
    Granted,
    Hello,
    Init,
    Judged,
    Message,
    Pull,
    Reply,
)
from asgd.worker.oracle import trials

if TYPE_CHECKING:
    from asgd.drivers.virtual.worker import VirtualLane
    from asgd.server.chief import Chief

TICK_SECONDS = 0.1


class VirtualServer:
    """Shard `index` of the job; `cluster` holds its peers and the coordinator."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        spec = cluster.job.spec
        rule = strategy(str(spec.algorithm["name"])).server(spec)
        self.cluster, self.index = cluster, index
        self.shard = Shard(spec, rule, index, spec.parameter_server.shards, 1)
        self.part = RoundPart(self.shard, rule) if isinstance(rule, RoundServer) else None
        self.table = RoundTable(self.part, self.shard.shards) if self.part and index == 0 else None
        self.traffic = Traffic()
        self._parked: list[tuple[VirtualLane, Pull]] = []
        self._waiting: deque[tuple[VirtualLane, AnyMessage, Any]] = deque()
        self._busy = False

    def receive(self, lane: VirtualLane, message: AnyMessage, payload: Any) -> None:
        """A message has arrived; it is served when those before it are."""
        self._waiting.append((lane, message, payload))
        if not self._busy:
            self._serve_next()

    def _serve_next(self) -> None:
        world = self.cluster.world
        if not self._waiting:
            return
        payload = self._waiting[0][2]
        cost = world.server_seconds + world.server_seconds_per_byte * (
            0 if payload is None else payload.nbytes
        )
        if cost == 0:
            self._serve(*self._waiting.popleft())
            return
        self._busy = True
        self.cluster.clock.after(cost, self._served)

    def _served(self) -> None:
        self._busy = False
        self._serve(*self._waiting.popleft())
        self._serve_next()

    def _serve(self, lane: VirtualLane, message: AnyMessage, payload: Any) -> None:
        match message:
            case Exchange():
                self.traffic.received += 0 if payload is None else payload.nbytes
                answer = self.shard.exchange(message, _bytes(payload))
                if self.index == 0 and isinstance(answer, Reply):
                    self.cluster.pushed(message, answer)
                self._answer(lane, answer, message, message.index, message.pull)
            case Pull():
                self._pull(lane, message)
            case Hello():
                fault = self.cluster.hello(message) if self.index == 0 else None
                self._send(lane, fault or self.shard.hello(message))
            case Init():
                self._send(lane, self.shard.init(message, _bytes(payload)) or Done())
            case Bye():
                self.shard.leave(message.index, message.incarnation)
                if self.index == 0:
                    self.cluster.bye(message)
            case _:
                raise AssertionError(f"no simulated worker sends {type(message).__name__}")
        self.meet()
        self.retry()

    def meet(self) -> None:
        """Closes rounds that can be closed (shard 0), or reports what is new (the others)."""
        if self.table:
            self.table.oracle_away = self.cluster.oracle is None
            self._decide(self.table)
            while self._judged(self.table):
                self._decide(self.table)
        elif self.part and (news := self.part.news()):
            first = self.cluster.servers[0]
            self._tell(first, partial(first.hear, news))

    def _decide(self, table: RoundTable) -> None:
        while order := table.next():
            for peer in self.cluster.servers[1:]:
                self._tell(peer, partial(peer.obey, order))

    def _judged(self, table: RoundTable) -> bool:
        """Zeno's oracle answers the open question at once."""
        question, oracle = table.question, self.cluster.oracle
        if question is None or oracle is None:
            return False
        points = trials(self.cluster.contribution, question.members, question.rate)
        table.judged(Judged(question.number, question.term, oracle(question.version, points)))
        return True

    def _tell(self, peer: VirtualServer, deliver: Action) -> None:
        self.cluster.network.send(("server", self.index), ("server", peer.index), 0, deliver)

    def obey(self, order: Decided) -> None:
        """Shard 0 has decided."""
        if self.part and self.part.take(order):
            self.meet()
            self.retry()

    def hear(self, report: Gathered) -> None:
        """Another shard reports to this one, shard 0."""
        assert self.table is not None
        self.table.hear(report)
        self.meet()
        self.retry()

    def _pull(self, lane: VirtualLane, message: Pull) -> None:
        try:
            answer = self.shard.pull(message)
        except Parked:
            if self.index == 0:
                self.cluster.coordinator.parked(message.index)
            if not self.cluster.coordinator.stop_reason:
                self._parked.append((lane, message))
                return
            answer = self.shard.reply(message.index, message.request, message.chunk, "pulled", True)
        if self.index == 0 and isinstance(answer, Reply):
            self.cluster.coordinator.active(message.index, self.cluster.clock.now)
        self._answer(lane, answer, message, message.index, True)

    def retry(self) -> None:
        """Asks again what was parked."""
        if self._parked:
            waiting, self._parked = self._parked, []
            for lane, message in waiting:
                self._pull(lane, message)

    def _answer(
        self, lane: VirtualLane, answer: Reply | Fault, message: Exchange | Pull, worker: int, pull: bool
    ) -> None:
        if not isinstance(answer, Reply) or not pull:
            self._send(lane, answer)
            return
        payload = self.shard.payload(answer, message, worker)
        if payload is None:
            self._send(lane, answer)
            return
        body = np.array(payload)
        self.traffic.sent += body.nbytes
        self._send(lane, answer, body)

    def _send(self, lane: VirtualLane, message: Message, body: Any = None) -> None:
        if isinstance(message, Reply):
            message.stop = self.cluster.coordinator.stop_reason
        size = 0 if body is None else body.nbytes
        deliver = lambda: lane.arrived(cast(AnyMessage, message), _bytes(body))  # noqa: E731
        self.cluster.network.send(("server", self.index), lane.owner, size, deliver)


class Cluster:
    """All shards of a job and its coordinator."""

    def __init__(self, job: Job, world: World, clock: Clock) -> None:
        self.job, self.world, self.clock = job, world, clock
        self.network = Network(clock, world)
        self.coordinator = Coordinator(job.spec)
        self.oracle: Callable[[int, Iterable[F32]], list[float]] | None = None
        """Losses at points (`worker/oracle.py`); None: the oracle is away."""
        self.servers = [VirtualServer(self, index) for index in range(job.spec.parameter_server.shards)]

    # -- shard 0's part ------------------------------------------------------------------------------------------

    def hello(self, message: Hello) -> Fault | None:
        """A worker joins the job."""
        coordinator = self.coordinator
        if coordinator.stop_reason:
            return Fault("stopped", coordinator.stop_reason, 1)
        coordinator.hello(message.index, message.incarnation, message.node, self.clock.now)
        coordinator.describe_data(message.dataset, message.guarantee, message.tensors)
        for server in self.servers:
            server.shard.state.dataset = coordinator.dataset
        return None

    def pushed(self, message: Exchange, reply: Reply) -> None:
        """Shard 0 served a chunk of a push; the first one has its verdict."""
        self.coordinator.active(message.index, self.clock.now)
        if message.chunk == 0 and reply.verdict != "duplicate" and message.steps:
            self.coordinator.pushed(
                message.index, message.visits, message.samples, message.loss, reply.verdict, self.clock.now
            )

    def bye(self, message: Bye) -> None:
        """A worker left, or was found dead."""
        member = self.coordinator.members.get(message.index)
        self.coordinator.bye(message.index, message.incarnation, message.lost, self.clock.now)
        if member and member.incarnation == message.incarnation and not (message.lost or message.reason):
            self.coordinator.finished(message.index, self.clock.now)

    def lease(self, index: int, request: int) -> Granted:
        """A worker asks for data."""
        granted = self.coordinator.lease(index, request, self.clock.now)
        for server in self.servers:
            if granted.wait:
                server.shard.rest(index)
            server.meet()
            server.retry()
        return granted

    def tick(self) -> None:
        """What servers do every tenth of a second."""
        for member in self.coordinator.tick(self.clock.now):
            for server in self.servers:
                server.shard.leave(member.index, member.incarnation)
        for server in self.servers:
            server.meet()
            server.retry()

    def lost(self, index: int, incarnation: int) -> None:
        """A worker's death was noticed."""
        bye = Bye("worker", index, incarnation, lost=True)
        for server in self.servers:
            server.shard.leave(index, incarnation)
            server.meet()
            server.retry()
        self.bye(bye)

    def contribution(self, worker: int) -> F32:
        """What `worker` gave to the open round (N,), -1 for the centre."""
        if worker < 0:
            return np.concatenate([server.shard.state.weights for server in self.servers])
        return np.concatenate([server.shard.state.inbox[worker].vector for server in self.servers])

    # -- what it looks like ------------------------------------------------------------------------------------

    def answer(self) -> Any:
        """The job's answer: the (N,) vector that an evaluator pulls."""
        shards = [server.shard for server in self.servers]
        parts = [
            shard.strategy.answer(shard.state, slice(0, shard.state.weights.size), -1) for shard in shards
        ]
        return np.concatenate([part for part in parts if part is not None])

    def status(self) -> Status:
        """The job at this moment, as shard 0 of a real run tells it."""
        first = self.servers[0]
        reports = {server.index: _report(server) for server in self.servers[1:]}
        chief = SimpleNamespace(
            coordinator=self.coordinator, shard=first.shard, traffic=first.traffic, reports=reports, rounds=None,
            terms={server.index: 1 for server in self.servers}, config=SimpleNamespace(job=self.job),
            lost_updates=0, checkpoint_error="",
        )  # fmt: skip
        # NB: a Chief has sockets and files; the view reads no more than these fields of it.
        return build_status(cast("Chief", chief), self.clock.now)


def _report(server: VirtualServer) -> dict[str, Any]:
    shard = server.shard
    return {
        "version": shard.state.version,
        "histogram": dict(shard.histogram),
        "refused": dict(shard.refused),
        "sent": server.traffic.sent,
        "received": server.traffic.received,
        "saved_bytes": shard.saved,
    }


def _bytes(payload: Any) -> Any:
    return None if payload is None else memoryview(payload).cast("B")
