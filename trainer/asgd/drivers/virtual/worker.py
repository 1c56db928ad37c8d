"""A worker in virtual time: the core, `Channel`s and messages of a real one, driven by the event queue.

Gradients are really computed, at once; that they take time is the clock's doing. All that a worker says, its signs of
life included, goes over the simulated network. Nothing is decided here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from asgd.algorithms.attacks import Attack, Eavesdropper
from asgd.algorithms.base import WorkerStrategy
from asgd.algorithms.gathering import shard_cuts
from asgd.algorithms.registry import halves
from asgd.drivers.virtual.lane import VirtualLane
from asgd.drivers.virtual.meters import Meters
from asgd.drivers.virtual.server import Cluster
from asgd.errors import TryAgain
from asgd.kernel import F32
from asgd.wire.ask import ASK_AGAIN_SECONDS
from asgd.wire.messages import AnyMessage, Beat, Beaten, Granted, Hello, Lease
from asgd.wire.partition import named_tensors
from asgd.wire.reports import WorkerReport
from asgd.wire.rule import with_rule
from asgd.worker import wishes
from asgd.worker.core import WorkerCore
from asgd.worker.device.backward import studied
from asgd.worker.device.vectors import ArrayVectors
from asgd.worker.fitted import fitted
from asgd.worker.reading.leased import Lease as Range
from asgd.worker.reading.leased import LeasedBatch, Waiting, range_of
from asgd.worker.sending.channel import HELLO_SECONDS, RETRY_SECONDS, Channel
from asgd.worker.sending.headers import BEAT_SECONDS, PeerIdentity
from asgd.worker.sending.leases import Asking, Leases
from asgd.worker.sending.shards import Shards
from asgd.worker.shared import Batches, Work
from asgd.worker.wishes import LATER


class VirtualWorker:
    """Worker `index`; `factor` stretches its compute time. `heard`: what liars get to hear; `attack`: it is one.

    `ended` is called when it ends itself because shard 0 has given it up.
    """

    def __init__(
        self, cluster: Cluster, work: Work, index: int, incarnation: int, factor: float, *,
        heard: Eavesdropper, attack: Attack | None = None, ended: Callable[[], None] = lambda: None,
    ) -> None:  # fmt: skip
        self.cluster, self.work, self.index, self.incarnation = cluster, work, index, incarnation
        brought: bytes = getattr(work, "brought", b"")
        self._clock, spec = cluster.clock, with_rule(cluster.job.spec, brought)
        tensors, shards = named_tensors(work.tensors or b"[]"), len(cluster.servers)
        self._random = np.random.Generator(
            np.random.PCG64(np.random.SeedSequence([0x51, spec.seed, index, incarnation]))
        )
        self._factor = factor
        identity = PeerIdentity(
            job=cluster.job.name, role="worker", index=index, incarnation=incarnation, size=work.size,
            layout=work.layout, dataset=work.dataset, node=f"node-{index % cluster.world.nodes}",
            guarantee=work.guarantee, tensors=work.tensors, rule=brought,
            cuts=shard_cuts(spec, tensors, shards, work.size),
        )  # fmt: skip
        self.vectors = ArrayVectors(
            work.size, lambda vector: None if attack else heard.heard.update({index: vector})
        )
        rule, following = fitted(
            spec, tensors, lambda rule: work.equip(rule, self.vectors.weights, self.vectors.gradient),
            judge=lambda: lambda weights: work.judge(index, weights),
        )  # fmt: skip
        lanes = [*map(self._lane, range(shards))]
        self.shards = Shards.over(lanes, identity, spec.codec, split=halves(spec).pulls_wait)
        for channel in self.channels:
            self._listen(channel)
        # Made-up problems have nothing to tell beside the loss.
        observer = getattr(work, "observer", lambda worker: None)(index)
        self.core = WorkerCore(
            spec, rule, self.vectors, shards, dataset=work.dataset, attack=attack, observer=observer, leaving=self._left
        )  # fmt: skip
        self._leases = Leases(index, incarnation, self.channels[0])
        self.core.holds, self.core.following = self._leases.holds, following
        self.alive = True
        self.failed = False  # gone because it could not go on: whoever started it starts it again
        self.ended = False
        """Gone because its life was through."""
        self._hangs = self._ticking = self._leaves = False
        self._awake_at = 0.0
        """A worker that stands still goes on from then."""
        self._batches: Batches | None = None
        self._granted: Granted | None = None
        self._waits_for: type = wishes.Sleep
        self._beats = self._lane(0)
        self._life = self.core.life(drained=self._left)
        self._ways: dict[type[wishes.Wish], Callable[[Any], Any]] = {
            wishes.Join: self._join,
            wishes.Exchange: self._exchange,
            wishes.Await: self._await,
            wishes.Next: lambda wish: self._next(),
            wishes.Compute: self._compute,
            wishes.Sleep: self._sleep,
            wishes.Leave: lambda wish: self.shards.leave(wish.reason),
        }
        self._beats.arrived = self._beaten
        self._ended = ended
        self._meters = Meters()

    def _lane(self, shard: int) -> VirtualLane:
        return VirtualLane(("worker", self.index), self.cluster.servers, shard, self.cluster.network)

    def _listen(self, channel: Channel) -> None:
        lane = channel.lane
        assert isinstance(lane, VirtualLane)
        lane.arrived = lambda message, payload: self._arrived(channel, message, payload)

    @property
    def weights(self) -> F32:
        """Its own (N,)."""
        return self.vectors.weights

    @property
    def rule(self) -> WorkerStrategy:
        """The strategy's half."""
        return self.core.rule

    @property
    def channels(self) -> list[Channel]:
        """Its conversation with each shard."""
        return self.shards.channels

    # -- what happens to it ------------------------------------------------------------------------

    def start(self) -> None:
        """Its process is there."""
        self._go_on(None)
        self._beat()

    def pause(self, seconds: float) -> None:
        """Stands still for a while, heartbeats included."""
        self._awake_at = self._clock.now + seconds

    def hang(self) -> None:
        """The gradient of this moment never comes, while its heart goes on beating."""
        self._hangs = True

    def leave(self) -> None:
        """Is told to leave: it finishes its push and says goodbye."""
        self._leaves = True

    def _left(self) -> bool:
        return self._leaves

    def die(self) -> None:
        """Is gone without a word."""
        self.alive = False

    def _fail(self) -> None:
        self.failed = True
        self.die()

    @property
    def waits(self) -> str:
        """What it is about at this moment, in words."""
        if not self.alive:
            return "has failed" if self.failed else "is gone"
        if self._hangs:
            return "hangs in its batch"
        if self._waits_for is wishes.Await:
            return f"waits for {self.shards.silent()}"
        if self._waits_for is wishes.Join:
            return f"has not been let in by {self.shards.silent()}"
        return "computes or waits for data"

    def _beat(self) -> None:
        if not self.alive:
            return
        if self._clock.now >= self._awake_at and self.shards.joined:
            self._beats.send(Beat("worker", self.index, self.incarnation, WorkerReport(self._meters.told())))
        self._clock.after(BEAT_SECONDS, self._beat)

    def _beaten(self, message: AnyMessage, payload: Any) -> None:
        """As `Heartbeat`: a process that was given up ends itself."""
        if self.alive and isinstance(message, Beaten) and message.given_up:
            self.die()
            self._ended()

    def _after(self, seconds: float, action: Callable[[], None]) -> None:
        """`action` in so many seconds, or when it goes on again; never once it is dead."""
        self._clock.after(seconds, lambda: self._awake(action))

    def _awake(self, action: Callable[[], None]) -> None:
        pause = self._awake_at - self._clock.now
        if self.alive and pause > 0:
            self._after(pause, action)
        elif self.alive:
            action()

    def _arrived(self, channel: Channel, message: AnyMessage, payload: Any) -> None:
        if not self.alive:
            return
        try:
            channel.handle(message, payload, self._clock.now)
        except TryAgain:
            self._fail()
            return
        if not self.shards.busy:
            self._meters.answered(self._clock.now)
        self._awake(self._look)

    # -- its life ----------------------------------------------------------------------------------

    def _go_on(self, answer: Any) -> None:
        """As far as it comes without waiting."""
        try:
            over = wishes.resume(self._life, self._ways, answer) is not LATER
        except TryAgain:
            self._fail()
            return
        if over:
            self.ended = True
            self.die()

    def _exchange(self, wish: wishes.Exchange) -> None:
        pull = self.vectors.pulled if wish.pull else None
        self._meters.asks(self._clock.now)
        self.shards.start(wish.push, pull, wish.meta, self._clock.now)

    def _await(self, wish: wishes.Await) -> Any:
        return self._wait(wishes.Await) if self.shards.busy else self.shards.outcome()

    def _join(self, wish: wishes.Join) -> wishes.Later:
        self.shards.bring(lambda shard: self.work.initial)
        self.shards.hello(self._clock.now)
        return self._wait(wishes.Join)

    def _sleep(self, wish: wishes.Sleep) -> wishes.Later:
        self._after(wish.seconds, lambda: self._go_on(None))
        return LATER

    # -- waiting for servers -----------------------------------------------------------------------

    def _wait(self, what: type) -> wishes.Later:
        """Looks whenever something arrives, and now and then whether to say something again."""
        self._waits_for = what
        if not self._ticking:
            self._ticking = True
            self._after(HELLO_SECONDS if what is wishes.Join else RETRY_SECONDS, self._tick)
        return LATER

    def _tick(self) -> None:
        self._ticking = False
        if self._waits_for is not wishes.Sleep:
            self._wait(self._waits_for)
            self.shards.tick(self._clock.now)

    def _look(self) -> None:
        if self._waits_for is wishes.Await and not self.shards.busy:
            self._waits_for = wishes.Sleep
            self._go_on(self.shards.outcome())
        elif self._waits_for is wishes.Join and self.shards.joined:
            self._waits_for = wishes.Sleep
            self._go_on(self.shards.stop)

    # -- batches -----------------------------------------------------------------------------------

    def _next(self) -> Any:
        if self._batches is None:
            self._batches = self.work.open(self.index, self._lease)
        item = self._batches.next()
        if item is not Waiting.ASK:
            return item
        asking = self._leases.asking()
        self._ask(asking, next(asking))
        return LATER

    def _lease(self) -> Range | Waiting | None:
        granted, self._granted = self._granted, None
        return range_of(granted) if granted else Waiting.ASK

    def _ask(self, asking: Asking, question: Lease | Hello) -> None:
        """Asks shard 0, again and again until it answers; the same answer twice is heard once."""
        lane, heard = self._lane(0), False

        def hear(message: AnyMessage, payload: Any) -> None:
            nonlocal heard
            if not heard:
                heard = True
                self._awake(lambda: self._told(asking, message))

        def again() -> None:
            if not heard:
                lane.send(question)
                self._after(ASK_AGAIN_SECONDS, again)

        lane.arrived = hear
        again()

    def _told(self, asking: Asking, answer: AnyMessage) -> None:
        try:
            question = asking.send(answer)
        except StopIteration as end:
            self._granted = end.value
            self._go_on(self._next())
        except TryAgain:
            self._fail()
        else:
            self._ask(asking, question)

    def _compute(self, wish: wishes.Compute) -> wishes.Later:
        seconds = self.cluster.world.compute.draw(self._random) * self._factor
        self._meters.own.add(seconds)
        self._after(seconds, lambda: self._computed(wish.item))
        return LATER

    def _computed(self, item: LeasedBatch) -> None:
        if self._hangs:
            return
        assert self._batches is not None
        read = studied(self._batches.load(item), self.core.attack)
        loss = self.work.gradient(self.index, self.weights, read, self.vectors.gradient)
        self._go_on(wishes.Computed(loss))
