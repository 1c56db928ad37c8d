"""A parameter server: the socket loop around one `Shard`, and on shard 0 around the `Coordinator` as well.

One thread serves: it receives a message, asks the pure objects, sends what they answer. Replies with weights copy one
chunk into the message, so what leaves is never half updated. Everything slow (checkpoints, HTTP) runs beside it. No
lock is held and nothing blocks; requests that must wait are parked and asked again after the next change.
"""

from __future__ import annotations

import math
import signal
import time
from typing import Any

import zmq

from asgd.algorithms.base import answers_weights
from asgd.algorithms.registry import strategy
from asgd.algorithms.rounds import RoundServer
from asgd.errors import Fenced, ProtocolError
from asgd.host.env import ProcessConfig
from asgd.host.exporter import Exporter, Views
from asgd.host.say import say
from asgd.record.shard import recorder
from asgd.server import metrics
from asgd.server.bulk import Bulk, Connection, open_bulk
from asgd.server.chief import Chief
from asgd.server.link import Link
from asgd.server.oracle import OracleDesk
from asgd.server.round_table import RoundPart, RoundTable
from asgd.server.saves.in_memory import Memory
from asgd.server.saves.restore import open_store, restore
from asgd.server.saves.saver import Saver
from asgd.server.shard import Parked, Shard, asker
from asgd.wire import control
from asgd.wire.messages import (
    AnyMessage,
    Beat,
    Bye,
    Command,
    Decided,
    Done,
    Evaluated,
    Exchange,
    Fault,
    Gathered,
    Hello,
    Init,
    Judged,
    Lease,
    Message,
    Pull,
    Reply,
    Welcome,
    decode,
    encode,
)

TICK_SECONDS = 0.1
LEAVE_SECONDS = 15.0
"""How long a server that was told to end waits for the checkpoint round that holds its state."""
LINGER_SECONDS = 1.0
"""How much longer shard 0 stays then: others that leave too must hear that the round is complete."""
PARKED_MOST = 10_000

Sender = bytes | Connection
"""Who asked: a routing identity of ZeroMQ, or a bulk connection."""


class Service:
    """Serves shard `config.index`. Raises UserError on a bad address or checkpoint, Fenced when replaced."""

    def __init__(self, config: ProcessConfig) -> None:
        spec = config.job.spec
        self.config = config
        self.store = open_store(config.checkpoint) if config.checkpoint else None
        term = self.store.claim_term(config.index) if self.store else 1
        rule = strategy(str(spec.algorithm["name"])).server(spec)
        self.shard = Shard(spec, rule, config.index, spec.parameter_server.shards, term)
        self.shard.recorder = recorder(config.record, config.index, term)
        self.traffic = metrics.Traffic()
        self.saver = Saver(self.store, self.shard, self.traffic) if self.store else None
        # NB: without a store there are no terms.
        self.memory = Memory(config.memory, self.shard, config.run) if config.memory and self.store else None
        self.context: zmq.Context[Any] = zmq.Context()
        needs_guard = config.keys and not control.is_local(config.bind)
        self.guard = control.guard(self.context, config.keys) if needs_guard and config.keys else None
        self.router = control.router(self.context, config.bind, config.keys)
        self.chief = Chief(config, self.shard, self.store, self.traffic) if config.index == 0 else None
        if self.chief and self.memory:
            self.chief.remembers = True
        self.link = None if self.chief else Link(self.context, config, self.shard, self.traffic)
        self.part = RoundPart(self.shard, rule) if isinstance(rule, RoundServer) else None
        self.table: RoundTable | None = None
        self.oracle: OracleDesk | None = None
        self.peers: dict[int, bytes] = {}
        """{shard: routing identity} of the shards that take part in rounds; on shard 0."""
        self.parked: dict[tuple[Sender, int], tuple[Sender, Pull]] = {}
        self.bulk: Bulk | None = None
        if spec.exchange.lane != "zmq":
            sealed = self.guard is not None
            self.bulk = open_bulk(config.bind, config.bulk, sealed, config.job.name, config.index)
        if self.bulk:
            self.bulk.takes = self.shard.takes
        if self.bulk and spec.exchange.read_in_place and answers_weights(rule):
            self.shard.memory = self.bulk.weights_memory
        self.leaving_since: float | None = None
        self._poller = self._make_poller()
        self._due = 0.0
        self._saved_since = 0.0
        restore(config, self.store, self.memory, self.shard, self.chief)
        if self.part and self.chief:
            self.table = RoundTable(self.part, self.shard.shards)
            self.oracle = OracleDesk(self.table) if self.part.strategy.oracle else None
        self.exporter = Exporter(config.metrics, self._views())

    def _views(self) -> Views:
        return Views(
            collect=lambda: metrics.collect(self.shard, self.traffic, len(self.parked)),
            status=lambda: self.chief.status_json if self.chief else b"{}",
            ready=lambda: True,
        )

    # -- the loop ----------------------------------------------------------------------------------

    def run(self) -> None:
        """Serves until SIGTERM. Raises Fenced when a newer server of this shard shows up."""
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.config.announce_address("server", self.exporter.address)
        state = self.shard.state
        origin = (
            f"restored at version {state.version:,}" if self.shard.ready else "waiting for a worker's weights"
        )
        place = f"shard {self.shard.index} of {self.shard.shards}, term {self.shard.term}"
        say(f"{place} of job {self.config.job.name}: listens on {self.config.bind}, {origin}")
        while not self._may_leave(time.monotonic()):
            self.step()
        self.close()
        say(f"shard {self.shard.index} ends at version {state.version:,}")

    def _make_poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        poller.register(self.router, zmq.POLLIN)
        if self.link:
            poller.register(self.link.socket, zmq.POLLIN)
        if self.bulk:
            poller.register(self.bulk.fileno(), zmq.POLLIN)
        return poller

    def step(self) -> None:
        """Waits until there is something to do, at most a tick, and does it."""
        unread = self.bulk is not None and self.bulk.unread
        patience = 0 if unread else max(0, math.ceil((self._due - time.monotonic()) * 1000))
        ready = dict(self._poller.poll(patience))
        if self.router in ready:
            self._receive()
        if self.bulk and (unread or self.bulk.fileno() in ready):
            self.bulk.turn(self._serve)
            self._meet()
            self._retry()
        if self.link and self.link.socket in ready:
            self._obey(self.link.receive())
        self._save(time.monotonic())
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + TICK_SECONDS
            self._tick(time.monotonic())

    def _on_term(self, *_: object) -> None:
        self.leaving_since = time.monotonic()
        if self.chief:
            self.chief.ask_save()
        elif self.link:
            self.link.leave()

    def _may_leave(self, now: float) -> bool:
        """After SIGTERM: gone as soon as what is in memory is in the store, at the latest when the time is up."""
        if self.leaving_since is None:
            return False
        if not self.saver or not self.shard.ready or now - self.leaving_since > LEAVE_SECONDS:
            return True
        if self.chief and self.chief.coordinator.phase == "finished":
            return True
        if self.chief:
            if not self.chief.all_saved:
                self._saved_since = now
            return now - self._saved_since > (LINGER_SECONDS if self.shard.shards > 1 else 0)
        return bool(self.link and self.link.all_saved)

    def close(self) -> None:
        """Ends all connections, after a checkpoint that is being written."""
        if self.saver:
            self.saver.close()
        self.exporter.close()
        self.shard.recorder.end()
        if self.bulk:
            self.bulk.close()
        self.router.close()
        if self.guard:
            self.guard.close()
        self.context.destroy(linger=200)

    def _receive(self) -> None:
        """Serves what has arrived, up to a bound so that time goes on under load."""
        for _ in range(64):
            try:
                frames = self.router.recv_multipart(zmq.NOBLOCK, copy=False)
            except zmq.Again:
                break
            if len(frames) < 2:
                continue
            sender, header = frames[0].bytes, frames[1].buffer
            payload = frames[2].buffer if len(frames) > 2 else None
            try:
                message = decode(header)
                self._serve(sender, message, payload)
            except ProtocolError as error:
                self._send(sender, Fault("protocol", str(error), self.shard.term))
        self._meet()
        self._retry()

    def _serve(self, sender: Sender, message: AnyMessage, payload: Any) -> None:
        started = time.perf_counter()
        shard = self.shard
        match message:
            case Exchange():
                self.traffic.received += 0 if payload is None else memoryview(payload).nbytes
                self._exchange(sender, message, payload)
                self.traffic.served("push", time.perf_counter() - started)
            case Pull():
                self._pull(sender, message)
                self.traffic.served("pull", time.perf_counter() - started)
            case Hello():
                self._send(sender, self._hello(message))
            case Init():
                fault = shard.init(message, payload)
                if self.chief and fault is None:
                    self.chief.brought(message.index)
                self._send(sender, fault or Done())
            case Bye():
                if message.role == "worker":
                    shard.leave(message.index, message.incarnation)
                if self.chief:
                    self.chief.bye(message)
                self._send(sender, Done())
            case Gathered() if self.table and isinstance(sender, bytes):
                self.peers[message.shard] = sender
                if order := self.table.hear(message):
                    self._send(sender, order)
            case Judged() if self.oracle and isinstance(sender, bytes):
                if question := self.oracle.hear(sender, message):
                    self._send(sender, question)
            case Lease() | Beat() | Evaluated() | Command() if self.chief:
                self._send(sender, self.chief.serve(message))
            case _:
                self._send(
                    sender, Fault("protocol", f"shard {shard.index} does not serve {type(message).__name__}")
                )

    def _hello(self, message: Hello) -> Message:
        if message.job != self.config.job.name:
            return Fault("job", f"this is job {self.config.job.name}, not {message.job}", self.shard.term)
        if message.term > self.shard.term:
            raise Fenced(
                f"shard {self.shard.index}: term {message.term} has taken over from {self.shard.term}"
            )
        if self.chief and (fault := self.chief.refuse(message)):
            return fault
        answer = self.shard.hello(message)
        if self.chief and isinstance(answer, Welcome):
            self.chief.joined(message, answer)
        if self.bulk and isinstance(answer, Welcome):
            self.bulk.offer(message, answer)
        return answer

    def _exchange(self, sender: Sender, message: Exchange, payload: Any) -> None:
        before = self.shard.refused["nonfinite"]
        answer = self.shard.exchange(message, payload)
        if self.chief and isinstance(answer, Reply):
            self.chief.exchanged(message, answer, self.shard.refused["nonfinite"] > before)
        self._answer(sender, answer, message, message.index, message.pull)

    def _pull(self, sender: Sender, message: Pull, *, again: bool = False) -> None:
        try:
            answer = self.shard.pull(message)
        except Parked:
            self._park(sender, message)
            if self.chief:
                self.chief.parked(message)
            if not again:
                # NB: who waits long must know that this server lives.
                self._send(sender, self.shard.reply(asker(message), 0, message.chunk, "waiting", False))
            return
        if self.chief and isinstance(answer, Reply):
            self.chief.pulled(message)
        self._answer(sender, answer, message, asker(message), True)

    def _park(self, sender: Sender, message: Pull) -> None:
        """Kept until something changes, unless the job is over: then the worker must hear that."""
        if self._stop_reason:
            reply = self.shard.reply(asker(message), message.request, message.chunk, "pulled", True)
            self._answer(sender, reply, message, asker(message), True)
        elif len(self.parked) < PARKED_MOST:
            self.parked[sender, message.chunk] = (sender, message)

    @property
    def _stop_reason(self) -> str:
        return self.chief.coordinator.stop_reason if self.chief else self.link.stop if self.link else ""

    def _retry(self) -> None:
        if self.parked:
            waiting, self.parked = list(self.parked.values()), {}
            for sender, message in waiting:
                self._pull(sender, message, again=True)

    def _answer(
        self, sender: Sender, answer: Reply | Fault, message: Exchange | Pull, worker: int, pull: bool
    ) -> None:
        if not isinstance(answer, Reply) or not pull:
            self._send(sender, answer)
            return
        answer.stop = self._stop_reason
        body = self.shard.payload(answer, message, worker)
        if body is None:
            self._send(sender, answer)
            return
        self.traffic.sent += body.nbytes
        if isinstance(sender, Connection):
            sender.send(answer, body)
            return
        self.router.send_multipart([sender, encode(answer), memoryview(body)], copy=True)

    def _send(self, sender: Sender, message: Message) -> None:
        if isinstance(message, Reply):
            message.stop = self._stop_reason
        if isinstance(sender, Connection):
            sender.send(message)
            return
        self.router.send_multipart([sender, encode(message)])

    # -- rounds ----------------------------------------------------------------------------------------------------

    def _meet(self) -> None:
        """Closes rounds that can be closed (shard 0), or reports what is new (the others)."""
        if self.table:
            self._look_at_oracle()
            while order := self.table.next():
                for peer in self.peers.values():
                    self._send(peer, order)
            if self.oracle and (asked := self.oracle.news()):
                self._send(*asked)
        elif self.part and self.link and (news := self.part.news()):
            self.link.send(news)

    def _look_at_oracle(self) -> None:
        """Rounds go on without an oracle that does not answer; the log says so once."""
        if self.oracle is None or self.chief is None:
            return
        before = self.oracle.gave_up
        if self.oracle.look(self.chief.coordinator.evaluator_heard, time.monotonic()) and not before:
            say("the oracle (asgd evaluate) does not answer: rounds go on without it until it does")

    def _obey(self, orders: list[Decided]) -> None:
        """Carries out what shard 0 ordered."""
        taken = [order for order in orders if self.part and self.part.take(order)]
        if taken:
            self._meet()
            self._retry()

    # -- time --------------------------------------------------------------------------------------

    def _save(self, now: float) -> None:
        if self.saver and self.saver.due(now):
            self.saver.start(self.chief.state(now) if self.chief else None)
        if self.memory and self.memory.due(now, self.chief.coordinator.changes if self.chief else 0):
            self.memory.keep(self.chief.coordinator.state(now) if self.chief else None)

    def _tick(self, now: float) -> None:
        if self.saver:
            self.saver.poll()
            if self.chief:
                self.chief.save_done(self.saver)
            elif self.link:
                self.link.report_save(self.saver)
                self.saver.keep_own(self.link.saved, self.config)
        if self.chief:
            for member in self.chief.tick(now):
                self.shard.leave(member.index, member.incarnation)
            order = self.chief.save_order()
        else:
            assert self.link is not None
            self.link.tick(now)
            if self.part:
                self.link.send(self.part.report())
            order = self.link.save_order()
        if self.saver and order:
            self.saver.order(*order, now)
        if self.bulk:
            self.bulk.tick(now, self.shard.members)
        self._meet()
        self._retry()
