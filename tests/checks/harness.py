"""A job in one process on virtual time: the real shards, strategies, coordinator and channels, and no socket.

Every message is encoded, decoded and served at once; answers wait in the worker's inbox. What differs from a run with
processes is only who carries the bytes and what a second is, so a check done here is a check of the code that trains.
Given a seed, everything happens in the same order with the same bits. Time moves by an event queue (`run`) or in
strict turns (`round_robin`, which gives p workers a staleness of exactly p-1).
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable
from typing import Any

import msgspec
import numpy as np

from asgd.algorithms.registry import halves
from asgd.algorithms.schedule import learning_rate
from asgd.kernel import F32, finite
from asgd.server.coordinator import Coordinator
from asgd.server.shard import Parked, Shard
from asgd.spec.types import JobSpec
from asgd.wire.lanes import WINDOW
from asgd.wire.messages import (
    AnyMessage,
    Bye,
    Done,
    Exchange,
    Hello,
    Init,
    Message,
    Pull,
    Reply,
    Welcome,
    decode,
    encode,
)
from asgd.wire.partition import shard_range
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from tests.checks.problems import Problem

JOB = "check"


def job_spec(**fields: Any) -> JobSpec:
    """A spec from its document's fields, as `optimizer={"learningRate": 0.5}`; the rest are defaults."""
    return msgspec.convert({"entrypoint": "checks:none", **fields}, JobSpec)


def asgd_spec(rate: float, *, workers: int = 1, shards: int = 1, **fields: Any) -> JobSpec:
    """A-SGD in gradient mode unless `fields` say otherwise."""
    optimizer = {"name": "sgd", "learningRate": rate} | fields.pop("optimizer", {})
    return job_spec(
        optimizer=optimizer, workers={"replicas": workers}, parameterServer={"shards": shards}, **fields
    )


class LocalLane:
    """A lane (`asgd.wire.lanes.Lane`) that serves what is sent at once, in the caller's own thread."""

    name = "local"
    window = announced = WINDOW
    run = 1

    def __init__(self, server: Server) -> None:
        self.server = server
        self.inbox: deque[tuple[AnyMessage, Any]] = deque()

    def send(self, message: Message, payload: Any = None) -> None:
        self.server.serve(self, decode(encode(message)), as_frame(payload))

    def deliver(self, message: Message, payload: Any = None) -> None:
        """The server's answer."""
        self.inbox.append((decode(encode(message)), as_frame(payload)))

    def receive(self) -> tuple[AnyMessage, Any] | None:
        return self.inbox.popleft() if self.inbox else None

    def polls(self) -> list[tuple[Any, int]]:
        return []

    def returned(self) -> bool:
        return False

    def waits(self, now: float) -> bool:
        return False

    def close(self) -> None:
        self.inbox.clear()


def as_frame(payload: Any) -> memoryview | None:
    """A payload as it arrives: bytes of no type, and nothing that its sender could still change."""
    if payload is None:
        return None
    return memoryview(payload.tobytes() if hasattr(payload, "tobytes") else bytes(payload))


class Server:
    """One shard as `server/service.py` runs it; shard 0 also speaks for the coordinator."""

    def __init__(self, cluster: Cluster, index: int, term: int = 1) -> None:
        spec = cluster.spec
        rule = halves(spec).server()
        self.cluster = cluster
        self.shard = Shard(spec, rule, index, spec.parameter_server.shards, term)
        self.parked: list[tuple[LocalLane, Pull]] = []

    def serve(self, lane: LocalLane, message: AnyMessage, payload: Any) -> None:
        """Answers one message, now or (a pull that is held back) later."""
        match message:
            case Exchange():
                answer = self.shard.exchange(message, payload)
                self._pushed(message, answer)
                self._answer(lane, answer, message, message.index, message.pull)
            case Pull():
                self._pull(lane, message)
            case Hello():
                lane.deliver(self._hello(message))
            case Init():
                lane.deliver(self.shard.init(message, payload) or Done())
            case Bye():
                self.shard.leave(message.index, message.incarnation)
                if self.shard.index == 0:
                    self.cluster.coordinator.bye(message.index, message.incarnation, False, self.cluster.now)
            case _:
                raise AssertionError(f"no virtual worker sends {type(message).__name__}")

    def _hello(self, message: Hello) -> Message:
        answer = self.shard.hello(message)
        if self.shard.index == 0 and isinstance(answer, Welcome):
            self.cluster.coordinator.hello(message.index, message.incarnation, message.node, self.cluster.now)
        return answer

    def _pushed(self, message: Exchange, answer: Message) -> None:
        first = self.shard.index == 0 and message.chunk == 0
        if first and isinstance(answer, Reply) and answer.verdict != "duplicate":
            self.cluster.coordinator.pushed(
                message.index, message.visits, message.samples, message.loss, answer.verdict, self.cluster.now
            )

    def _pull(self, lane: LocalLane, message: Pull) -> None:
        try:
            answer = self.shard.pull(message)
        except Parked:
            self.parked.append((lane, message))
            return
        self._answer(lane, answer, message, message.index, True)

    def _answer(
        self, lane: LocalLane, answer: Message, message: Exchange | Pull, worker: int, pull: bool
    ) -> None:
        if not isinstance(answer, Reply):
            lane.deliver(answer)
            return
        answer.stop = self.cluster.coordinator.stop_reason
        payload = self.shard.payload(answer, message, worker) if pull else None
        lane.deliver(answer, payload)

    def retry(self) -> None:
        """Asks again for the pulls that were held back."""
        waiting, self.parked = self.parked, []
        for lane, message in waiting:
            self._pull(lane, message)


class Node:
    """A virtual worker: its weights, its half of the strategy and a real channel to every shard."""

    def __init__(self, cluster: Cluster, index: int) -> None:
        spec, self.cluster, self.index = cluster.spec, cluster, index
        chosen = halves(spec)
        self.rule = chosen.worker()
        self.weights = cluster.problem.start()
        self.gradient = np.zeros_like(self.weights)
        self.pulled = np.zeros_like(self.weights)
        self.rng = np.random.default_rng([cluster.seed, 1 + index])
        size, shards = self.weights.size, spec.parameter_server.shards
        identity = PeerIdentity(
            job=JOB, role="worker", index=index, incarnation=1, size=size, layout="layout"
        )
        split = chosen.pulls_wait
        self.channels = [
            Channel(LocalLane(server), identity, spec.codec, i, shard_range(size, i, shards), split)
            for i, server in enumerate(cluster.servers)
        ]
        self.steps, self.sequence, self.local = 0, 0, 0
        self.loss = 0.0
        self._merge: Callable[[], None] | None = None

    @property
    def waiting(self) -> bool:
        """An exchange is under way: the answer of some shard is held back."""
        return self._merge is not None

    def join(self) -> None:
        """Joins all shards (the first worker brings the weights) and asks for theirs."""
        for channel in self.channels:
            channel.bring = self.weights.copy
            channel.hello(self.cluster.now)
        self.pump()
        self._exchange(None, True, self._joined)

    def _joined(self) -> None:
        self.weights[:] = self.pulled
        self.rule.joined(self.weights)
        self.compute()

    def compute(self) -> None:
        """The gradient at the weights of this moment; `finish` takes the step."""
        self.loss = self.cluster.problem.gradient(self.weights, self.gradient, self.rng)

    def finish(self) -> None:
        """A step's end: the local update, then what the strategy wants to push and pull."""
        optimizer = self.cluster.spec.optimizer
        self.steps += 1
        self.local += 1
        self.rule.step(self.weights, self.gradient, learning_rate(optimizer, self.channels[0].samples, None))
        turn = self.rule.turn(self.steps)
        push = self.rule.outgoing(self.weights, self.gradient) if turn.push else None
        if turn.push or turn.pull:
            self._exchange(push, turn.pull, self._merged if turn.pull else self.compute)
        else:
            self.compute()

    def _merged(self) -> None:
        self.rule.incoming(self.weights, self.pulled)
        self.compute()

    def _exchange(self, push: F32 | None, pull: bool, merge: Callable[[], None]) -> None:
        steps = self.local
        if push is not None:
            self.sequence, self.local = self.sequence + 1, 0
        good = push is None or finite(push)
        samples = steps * self.cluster.problem.batch
        meta = PushHeader(sequence=self.sequence, samples=samples, steps=steps, finite=good, loss=self.loss)
        self._merge = merge
        for channel in self.channels:
            part = slice(channel.part.start, channel.part.stop)
            channel.start(
                None if push is None else push[part],
                meta,
                self.pulled[part] if pull else None,
                self.cluster.now,
            )
        self.pump()

    def pump(self) -> None:
        """Takes in what has arrived; merges once every shard has answered."""
        for channel in self.channels:
            while arrived := channel.lane.receive():
                channel.handle(*arrived, self.cluster.now)
        if self._merge and not any(channel.busy for channel in self.channels):
            merge, self._merge = self._merge, None
            merge()


class Cluster:
    """The servers and workers of one job, and its clock (seconds of virtual time)."""

    def __init__(self, spec: JobSpec, problem: Problem, *, seed: int = 0) -> None:
        self.spec, self.problem, self.seed = spec, problem, seed
        self.now, self._turn = 0.0, 0
        self.coordinator = Coordinator(spec)
        self.servers = [Server(self, i) for i in range(spec.parameter_server.shards)]
        self.nodes = [Node(self, i) for i in range(spec.workers.replicas)]
        for node in self.nodes:
            node.join()

    @property
    def shards(self) -> list[Shard]:
        return [server.shard for server in self.servers]

    @property
    def centre(self) -> F32:
        """The centre, (n,), a copy."""
        return np.concatenate([shard.state.weights for shard in self.shards])

    @property
    def updates(self) -> int:
        return self.coordinator.updates

    def round_robin(self, updates: int) -> None:
        """Workers push in strict turns until `updates` more are in; who is held back is passed over."""
        target = self.updates + updates
        while self.updates < target:
            assert not all(node.waiting for node in self.nodes), "every worker is held back"
            node = self.nodes[self._turn % len(self.nodes)]
            self._turn += 1
            if not node.waiting:
                node.finish()
                self._wake()

    def run(
        self,
        updates: int,
        seconds: Callable[[Node], float],
        watch: Callable[[], bool] = lambda: False,
    ) -> None:
        """Each step takes `seconds(node)`; ends after `updates` more, or when `watch` (asked after each) says so."""
        target = self.updates + updates
        queue: list[tuple[float, int, Node]] = []
        busy: set[int] = set()

        def begin() -> None:
            for node in self.nodes:
                if not node.waiting and node.index not in busy:
                    busy.add(node.index)
                    heapq.heappush(queue, (self.now + seconds(node), node.index, node))

        begin()
        while queue and self.updates < target:
            self.now, _, node = heapq.heappop(queue)
            before = self.updates
            node.finish()
            busy.remove(node.index)
            self._wake()
            if self.updates > before and watch():
                return
            begin()

    def _wake(self) -> None:
        for server in self.servers:
            server.retry()
        for node in self.nodes:
            if node.waiting:
                node.pump()
