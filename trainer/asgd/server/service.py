"""The process around a `ServerCore`: sockets and lanes, the checkpoint store's thread, HTTP, signals.

One thread serves: it receives a message, asks the core, sends what that answers. Replies with weights copy one chunk
into the message, so what leaves is never half updated. No lock is held and nothing blocks: what is slow runs beside it.
Whatever one message brings about is that message's business: the loop goes on.
"""

from __future__ import annotations

import math
import signal
import time
import traceback
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import zmq

from asgd.errors import Fenced, FencedByOther, ProtocolError, UserError
from asgd.host.env import ProcessConfig
from asgd.host.exporter import Exporter, Views
from asgd.host.say import say
from asgd.record import pods
from asgd.server import metrics
from asgd.server.answers import PRIMARY, Answers
from asgd.server.bulk import Bulk, Connection
from asgd.server.core import TICK_SECONDS, ServerCore
from asgd.server.dispatch import Dispatch
from asgd.server.rollback import Rollback
from asgd.server.saves.in_memory import Memory
from asgd.server.saves.saver import Saver
from asgd.spec.live import with_live
from asgd.tracing.counted import Counted
from asgd.wire import control
from asgd.wire.messages import AnyMessage, Exchange, Fault, Hello, Message, Pull, Welcome, decode, encode

BATCH = 64
"""Messages that are served before rounds and parked pulls are looked at, so that time goes on under load."""
CLOSE_SECONDS = 5.0
"""How long a server that ends waits for its store to finish what it is at."""
_SERVED: dict[type[Message], str] = {Exchange: "push", Pull: "pull"}
"""Requests whose durations are counted."""


@dataclass(slots=True)
class Ports:
    """What a server's process has opened; None where the job has no such thing."""

    context: zmq.Context[Any]
    router: control.Router
    dealer: zmq.Socket[bytes] | None = None
    """To shard 0, from the others."""
    guard: control.Guard | None = None
    bulk: Bulk | None = None
    saver: Saver | None = None
    memory: Memory | None = None


class Service(Dispatch):
    """Drives `core` by `ports`. `before`: the service of this process in whose place it serves, which has ended."""

    now = staticmethod(time.monotonic)
    spans: Counted | None = None
    """Where this process is traced (`TracedService`)."""

    def __init__(
        self, config: ProcessConfig, core: ServerCore, ports: Ports, before: Service | None = None
    ) -> None:
        self.config, self.core, self.ports = config, core, ports
        self.bulk, self.saver, self.memory = ports.bulk, ports.saver, ports.memory
        self._router, self._dealer = ports.router, ports.dealer
        if ports.bulk:
            ports.bulk.takes = core.shard.takes
        self.told_to_leave = False
        """Set by a signal; the loop looks at it."""
        self._before = before
        self._poller = self._make_poller()
        self._due = 0.0
        self._live = b""
        self._surprises: set[str] = set()
        self.exporter = Exporter(config.metrics, self._views())

    def _views(self) -> Views:
        core = self.core
        return Views(
            collect=lambda: metrics.of_server(core, self.spans),
            status=lambda: core.primary.status_json if core.primary else b"{}",
            ready=lambda: True,
        )

    def _make_poller(self) -> zmq.Poller:
        poller = zmq.Poller()
        poller.register(self._router, zmq.POLLIN)
        if self._dealer:
            poller.register(self._dealer, zmq.POLLIN)
        if self.bulk:
            poller.register(self.bulk.fileno(), zmq.POLLIN)
        return poller

    # -- the loop ----------------------------------------------------------------------------------

    def run(self) -> Rollback | None:
        """Serves until SIGTERM, or until the job goes back: then the next service is to begin with what is returned.

        Raises Fenced when a newer server of this shard shows up.
        """
        signal.signal(signal.SIGTERM, self._on_term)
        # NB: until here a signal was told to the service before.
        self.told_to_leave |= self._before is not None and self._before.told_to_leave
        self._before = None
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.config.announce_address("server", self.exporter.address)
        core, state = self.core, self.core.shard.state
        origin = (
            f"restored at version {state.version:,}" if core.shard.ready else "waiting for a worker's weights"
        )
        place = f"shard {core.shard.index} of {core.shard.shards}, term {core.shard.term}"
        say(f"{place} of job {self.config.job.name}: listens on {self.config.bind}, {origin}")
        back = None
        while back is None and not core.may_leave(time.monotonic()):
            self.step()
            back = core.back(time.monotonic())
        self.close()
        goes = "goes back from" if back else "ends at"
        say(f"shard {core.shard.index} {goes} version {state.version:,}")
        return back

    def _on_term(self, *_: object) -> None:
        self.told_to_leave = True

    def step(self) -> None:
        """Waits until there is something to do, at most a tick, and does it."""
        unread = self.bulk is not None and self.bulk.unread
        patience = 0 if unread else max(0, math.ceil((self._due - time.monotonic()) * 1000))
        ready = dict(self._poller.poll(patience))
        if self._router in ready:
            self._receive()
        if self.bulk and (unread or self.bulk.fileno() in ready):
            self.bulk.turn(partial(self.serve, self.core))
            self._settle()
        if self._dealer and self._dealer in ready:
            self._hear_primary(self._dealer)
        if self.saver and self.saver.fileno() in ready:
            self._guard("save", self._saved)
        self._guard("save", self._save)
        if time.monotonic() >= self._due:
            self._due = time.monotonic() + TICK_SECONDS
            self._guard("tick", self._tick)

    def _receive(self) -> None:
        """Serves what has arrived, up to a bound so that time goes on under load."""
        for _ in range(BATCH):
            received = self._router.receive()
            if received is None:
                break
            sender, header, payload = received
            try:
                message = decode(header)
            except ProtocolError as error:
                self.send(sender, self.core.refuse(sender, None, error.code, str(error)), None)
                continue
            self.serve(self.core, sender, message, payload)
        self._settle()

    def _hear_primary(self, dealer: zmq.Socket[bytes]) -> None:
        while dealer.poll(0):
            try:
                message = decode(dealer.recv())
            except ProtocolError:
                continue
            self.serve(self.core, PRIMARY, message, None)
        self._settle()

    def serve(self, core: ServerCore, sender: Any, message: AnyMessage, payload: Any) -> None:
        """One message, whatever comes of it. `sender`: a routing identity, a bulk connection or PRIMARY."""
        started = self.now()
        try:
            super().serve(core, sender, message, payload)
        except Exception as error:
            self._surprised(type(message).__name__, error)
            text = f"shard {core.shard.index} could not serve {type(message).__name__}: {error!r}"
            self.send(sender, core.refuse(sender, message, "bug", text), None)
        if what := _SERVED.get(type(message)):
            core.traffic.served(what, self.now() - started)

    def answering(self, message: AnyMessage, answers: Answers) -> None:
        """Who is welcomed is offered a faster lane."""
        if self.bulk and isinstance(message, Hello):
            for _, answer, _ in answers:
                if isinstance(answer, Welcome):
                    self.bulk.offer(message, answer)

    def send(self, to: Any, message: Message, body: Any) -> None:
        if isinstance(to, Connection):
            to.send(message, body)
        elif isinstance(to, bytes):
            self._router.answer(to, encode(message), body)
        elif to is PRIMARY:
            self._tell_primary(message)

    def _tell_primary(self, message: Message) -> None:
        """A report that finds no room is repeated by the next tick."""
        if self._dealer is None or isinstance(message, Fault):
            return
        try:
            self._dealer.send(encode(message), zmq.NOBLOCK)
        except zmq.Again:
            return

    def _settle(self) -> None:
        self._guard("settle", partial(self.settle, self.core))

    # -- surprises ---------------------------------------------------------------------------------

    def _guard(self, what: str, action: Any) -> None:
        """Whatever is wrong with it: who else is served here goes on."""
        try:
            action()
        except Fenced:
            raise
        except Exception as error:
            self._surprised(what, error)
            self.core.refuse(None, None, "bug", what)

    def _surprised(self, what: str, error: Exception) -> None:
        """A fault of this program: told with its traceback, once for each kind."""
        kind = f"{what}: {type(error).__name__}"
        if kind not in self._surprises:
            self._surprises.add(kind)
            say(f"a fault of this program, and the server goes on: {kind}\n{traceback.format_exc()}")

    # -- time --------------------------------------------------------------------------------------

    def _save(self) -> None:
        """Passes on what the store is to do next, and copies into memory what is due. Raises Fenced."""
        now = time.monotonic()
        if self.saver and (wish := self.core.wish(now)):
            self.saver.begin(wish)
            self._poller.register(self.saver.fileno(), zmq.POLLIN)
        if self.memory and self.memory.due(now, self.core.job_changes):
            self.memory.keep(self.core.job_state(now))

    def _saved(self) -> None:
        """The store has answered. Raises Fenced."""
        assert self.saver is not None
        if outcome := self.saver.outcome():
            self._poller.unregister(self.saver.fileno())
            if outcome.fenced:
                raise (FencedByOther if outcome.foreign else Fenced)(outcome.error)
            self.core.done(outcome, time.monotonic())

    def _tick(self) -> None:
        now = time.monotonic()
        if self.told_to_leave:
            self.core.leave(now)
        if self.config.live:
            self._look_at_live_fields(self.config.live)
        self.tick(self.core)
        if self.bulk:
            self.bulk.tick(now, self.core.shard.members)
        for line in self.core.notes:
            say(line)
        self.core.notes.clear()

    def _look_at_live_fields(self, path: Path) -> None:
        try:
            text = path.read_bytes()
        except OSError:
            return
        if text == self._live:
            return
        self._live = text
        try:
            job = with_live(self.config.job, text)
            self.core.change(job.spec)
            if not self.config.index:
                pods.leave_job(self.config.record, job)
        except UserError as error:
            say(f"{path} is damaged and changes nothing: {error}")

    def close(self) -> None:
        """Ends all connections, after a checkpoint that is being written, unless that takes long."""
        if self.saver:
            self.saver.close(CLOSE_SECONDS)
        self.exporter.close()
        self.core.shard.recorder.end()
        if self.bulk:
            self.bulk.close()
        self._router.close()
        if self.ports.guard:
            self.ports.guard.close()
        self.ports.context.destroy(linger=200)
