"""A worker in virtual time: the same strategy and the same `Channel`s as a real one, the life of `worker/replica.py`.

`life` is that life as a generator: it stops where a real worker would wait and is resumed by whatever arrives.
Gradients are really computed, at once; that they take time is the clock's doing. `exchange.ahead` works as in the
replica: the next gradient is computed on the weights that were there when the exchange began.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from asgd import kernel
from asgd.algorithms.attacks import Attack, Eavesdropper
from asgd.algorithms.registry import strategy
from asgd.algorithms.schedule import learning_rate
from asgd.drivers.virtual.server import Cluster, VirtualServer
from asgd.drivers.virtual.work import Work
from asgd.errors import TryAgain
from asgd.kernel import F32
from asgd.wire.messages import AnyMessage, Bye, Message
from asgd.wire.partition import part_slices, shard_range
from asgd.worker.loop import studied
from asgd.worker.reading.batches import WAIT_SECONDS, Lease, LeasedBatch, Waiting
from asgd.worker.sending.channel import HELLO_SECONDS, Channel
from asgd.worker.sending.headers import Identity, PushMeta

Life = Iterator[None]


class VirtualLane:
    """One worker's way to one server."""

    name = "virtual"
    window = 4
    run = 1

    def __init__(self, worker: VirtualWorker, server: VirtualServer) -> None:
        self._worker, self._server = worker, server
        self.owner = ("worker", worker.index)

    def send(self, message: Message, payload: Any = None) -> None:
        # What is on its way must not change when its sender goes on.
        body = None if payload is None else np.frombuffer(bytes(payload), np.uint8)
        deliver: Callable[[], None] = lambda: self._server.receive(self, message, body)  # type: ignore[arg-type]  # noqa: E731  (a worker sends no bare Message)
        size = 0 if body is None else body.nbytes
        self._server.cluster.network.send(self.owner, ("server", self._server.index), size, deliver)

    def arrived(self, message: AnyMessage, payload: Any) -> None:
        """The server's answer is here."""
        self._worker.arrived(self, message, payload)

    def receive(self) -> tuple[AnyMessage, Any] | None:
        return None

    def polls(self) -> list[tuple[Any, int]]:
        return []

    def returned(self) -> bool:
        """Never: nothing dies here."""
        return False

    def waits(self, now: float) -> bool:
        """Never; what is lost here is sent again."""
        return False

    def close(self) -> None:
        return None


@dataclass(slots=True)
class _Pending:
    samples: int = 0
    steps: int = 0
    visits: list[Lease] = field(default_factory=list)
    losses: list[float] = field(default_factory=list)


class VirtualWorker:
    """Worker `index`; `factor` stretches its compute time."""

    def __init__(self, cluster: Cluster, work: Work, index: int, incarnation: int, factor: float) -> None:
        self.cluster, self.work, self.index, self.incarnation = cluster, work, index, incarnation
        spec = self.spec = cluster.job.spec
        chosen = strategy(str(spec.algorithm["name"]))
        self.rule = chosen.worker(spec)
        self.rule.dataset = work.dataset
        self.rule.judge = lambda weights: work.judge(index, weights)
        self._random = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([0x51, spec.seed, index, incarnation]))
        )
        self._factor = factor
        self._split = chosen.server(spec).pulls_wait
        self.identity = Identity(
            cluster.job.name, "worker", index, incarnation, work.size, work.layout, work.dataset,
            f"node-{index % cluster.world.nodes}", work.guarantee, work.tensors,
        )  # fmt: skip
        self.weights, self._gradient, self._pulled = (np.zeros(work.size, np.float32) for _ in range(3))
        self.channels = [self._channel(server) for server in cluster.servers]
        self._sequence = 0
        self._requests = 0
        self._pending = _Pending()
        self._steps = 0
        self._pulling = self._under_way = False
        self._land_at = 0
        self.samples = 0
        self.stop = ""
        self.alive = True
        self.heard = Eavesdropper()
        """What liars get to hear."""
        self.attack: Attack | None = None
        self._awake_at = 0.0
        """A worker that stands still goes on from then."""
        self.hung = False
        """It never finishes the batch it is at; its heartbeats go on."""
        self._life = self.life()

    def _channel(self, server: VirtualServer) -> Channel:
        part = shard_range(self.work.size, server.index, len(self.cluster.servers))
        lane = VirtualLane(self, server)
        return Channel(lane, self.identity, self.spec.codec, server.index, part, self._split)

    # -- being resumed -------------------------------------------------------------------------------------------

    def resume(self) -> None:
        """Something has happened; goes on as far as possible."""
        if not self.alive:
            return
        pause = self._awake_at - self.cluster.clock.now
        if pause > 0:
            self.cluster.clock.after(pause, self.resume)
            return
        try:
            next(self._life)
        except StopIteration:
            self.alive = False

    def arrived(self, lane: VirtualLane, message: AnyMessage, payload: Any) -> None:
        """A message for this worker."""
        if not self.alive:
            return
        channel = next(channel for channel in self.channels if channel.lane is lane)
        try:
            channel.handle(message, payload, self.cluster.clock.now)
        except TryAgain:
            self.alive = False
            return
        self.resume()

    def pause(self, seconds: float) -> None:
        """Stands still for a while, heartbeats included."""
        self._awake_at = self.cluster.clock.now + seconds

    @property
    def heartbeats(self) -> bool:
        """Whether it shows signs of life."""
        return self.alive and self.cluster.clock.now >= self._awake_at

    def die(self) -> None:
        """Is gone without a word."""
        self.alive = False

    def _sleep(self, seconds: float) -> Life:
        until = self.cluster.clock.now + seconds
        self.cluster.clock.after(seconds, self.resume)
        while self.cluster.clock.now < until:
            yield

    # -- its life --------------------------------------------------------------------------------------------------

    def life(self) -> Life:
        yield from self._join()
        batches = self.work.open(self.index, self._lease)
        while not self._stopped():
            item = batches.next()
            if item is None:
                break
            if isinstance(item, Waiting):
                yield from self._flush()
                yield from self._sleep(WAIT_SECONDS)
                continue
            yield from self._sleep(self.cluster.world.compute.draw(self._random) * self._factor)
            while self.hung:
                yield
            item = studied(batches.load(item), self.attack)
            loss = self.work.gradient(self.index, self.weights, item, self._gradient)
            yield from self._step(item, loss)
        yield from self._flush()
        yield from self._part()
        for channel in self.channels:
            channel.lane.send(Bye("worker", self.index, self.incarnation, reason=self.stop))

    def _stopped(self) -> bool:
        self.stop = next((channel.stop for channel in self.channels if channel.stop), self.stop)
        return bool(self.stop)

    def _lease(self) -> Lease | Waiting | None:
        self._requests += 1
        granted = self.cluster.lease(self.index, self._requests)
        if granted.over:
            return None
        return Waiting.WAIT if granted.wait else (granted.epoch, granted.start, granted.stop)

    def _join(self) -> Life:
        for channel in self.channels:
            channel.bring = self.work.initial
            channel.hello(self.cluster.clock.now)
        while not all(channel.joined for channel in self.channels):
            yield from self._sleep(HELLO_SECONDS)
            for channel in self.channels:
                channel.tick(self.cluster.clock.now)
        if self._stopped():
            return
        self._start(None, True, PushMeta(0, 0, 0, True, None, []))
        yield from self._answered()
        self._pulling = False
        if not self._stopped():
            self.weights[:] = self._pulled
            self.rule.joined(self.weights)

    def _step(self, item: LeasedBatch, loss: float) -> Life:
        """`Replica.step`."""
        limit = self.spec.optimizer.clip_norm
        if limit is not None and (norm := float(np.linalg.norm(self._gradient))) > limit:
            self._gradient *= limit / norm
        if not self.rule.delay:
            yield from self._land()
        self._steps += 1
        rate = learning_rate(self.spec.optimizer, self.samples, self.work.dataset)
        self.rule.step(self.weights, self._gradient, rate)
        pending = self._pending
        pending.samples += item.samples
        pending.steps += 1
        pending.visits.extend(item.visits)
        pending.losses.append(loss)
        if self.rule.delay and self._steps >= self._land_at:
            yield from self._land()
        turn = self.rule.turn(self._steps)
        if turn.push or turn.pull:
            yield from self._exchange(turn.push, turn.pull)

    def _flush(self) -> Life:
        yield from self._land()
        if self._pending.steps and not self._stopped():
            yield from self._exchange(True, True)
            yield from self._land()

    def _exchange(self, push: bool, pull: bool) -> Life:
        self._begin(push, pull)
        if not (self.spec.exchange.ahead or self.rule.delay):
            yield from self._land()

    def _begin(self, push: bool, pull: bool) -> None:
        vector, meta = None, PushMeta(0, 0, 0, True, None, [])
        if push:
            outgoing = self.rule.outgoing(self.weights, self._gradient)
            vector = None if outgoing is None else self._spoken(np.array(outgoing))
            meta = self._meta(vector)
        meta.part, meta.parts = self.rule.part, self.rule.parts
        self._land_at = self._steps + self.rule.delay
        self._start(vector, pull, meta)

    def _spoken(self, vector: F32) -> F32:
        """What is really pushed: an honest worker's own vector."""
        if self.attack:
            return self.attack.spoil(vector)
        self.heard.heard[self.index] = vector
        return vector

    def _part(self) -> Life:
        """`Replica._part`."""
        vector = self.rule.parting(self.weights)
        if vector is not None:
            self._pending = _Pending()  # steps that were not pushed before the end do not count
            self._start(vector, False, self._meta(vector))
            yield from self._answered()

    def _meta(self, vector: F32 | None) -> PushMeta:
        pending, self._pending = self._pending, _Pending()
        self._sequence += 1
        loss = sum(pending.losses) / len(pending.losses) if pending.losses else None
        finite = math.isfinite(loss or 0.0) if vector is None else kernel.finite(vector)
        return PushMeta(
            self._sequence, pending.samples, pending.steps, finite, loss, pending.visits, self.rule.meta(),
            vector is None,
        )  # fmt: skip

    def _start(self, vector: Any, pull: bool, meta: PushMeta) -> None:
        self._pulling, self._under_way = pull, True
        for channel in self.channels:
            part = slice(channel.part.start, channel.part.stop)
            channel.start(
                None if vector is None else vector[part], meta, self._pulled[part] if pull else None,
                self.cluster.clock.now,
            )  # fmt: skip

    def _answered(self) -> Life:
        while any(channel.busy for channel in self.channels):
            yield
        self._under_way = False
        first = self.channels[0]
        self.samples = first.samples
        self.rule.workers, self.rule.notes = first.workers, first.notes

    def _land(self) -> Life:
        """Waits for the exchange under way, and those that follow it, and merges what they brought."""
        while self._under_way:
            yield from self._answered()
            pulling, self._pulling = self._pulling, False
            if self._stopped():
                return
            if pulling and not any(channel.empty for channel in self.channels):
                rule, shards = self.rule, len(self.channels)
                rule.spans = part_slices(self.work.size, shards, rule.part, rule.parts)
                rule.incoming(self.weights, self._pulled)
            turn = self.rule.follow()
            if turn.push or turn.pull:
                self._begin(turn.push, turn.pull)
