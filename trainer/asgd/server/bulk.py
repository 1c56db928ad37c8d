"""The server's end of the bulk lanes: byte streams beside ZeroMQ that carry Exchange, Pull and Reply.

A session is made when a peer that offers such a lane is welcomed over ZeroMQ; its Welcome names the address and a
token, and the first connection that shows the token is the session's. Nothing blocks: a connection that is slow to read
is not read from until it has taken what waits for it, and each gets a few frames a turn. A new hello of the same peer
ends its old connection before the welcome goes out, so nothing of an earlier session is served afterwards.
"""

from __future__ import annotations

import os
import selectors
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asgd.errors import ProtocolError
from asgd.host.say import say
from asgd.kernel import F32
from asgd.wire.lanes import shm
from asgd.wire.lanes.shm import Segment
from asgd.wire.limits import ACCEPTED_MOST, BACKLOG, BULK_STRANGERS_MOST, STRANGER_SECONDS
from asgd.wire.messages import AnyMessage, Exchange, Fault, Hello, Message, Pull, Reply, Welcome, encode
from asgd.wire.partition import CHUNK, Range, chunk_slice
from asgd.wire.seal import RANDOM, Seal, available, session_keys
from asgd.wire.stream import Closed, Stream, tune

TOKEN = 16
TURN = 8
"""Frames of one connection that are served before the next one's turn."""
QUEUE_MOST = 4 * 4 * CHUNK
"""Bytes that may wait for a peer before it is not read from any more."""

Peer = tuple[str, int]


@dataclass(slots=True)
class Session:
    """What was agreed with one peer at its hello."""

    hello: Hello
    token: bytes
    random: bytes
    segment: Segment | None = None
    """Memory shared with the peer; None on other lanes than shm."""
    part: Range = Range(0, 0)  # noqa: RUF009
    """What this shard holds of the vectors in it."""
    connection: Connection | None = None

    def shared(self, vector: F32, chunk: int, run: int) -> F32:
        """The `run` chunks of this shard from number `chunk` on, in one of the segment's vectors; or none."""
        return vector[self.part.start : self.part.stop][chunk_slice(self.part.size, chunk, run=run)]


class Connection:
    """One stream; a sender to `Service`. `session` is None until the token has been shown."""

    def __init__(self, sock: socket.socket, bulk: Bulk) -> None:
        self.socket, self._bulk = sock, bulk
        self.since = time.monotonic()
        self.session: Session | None = None
        self.stream: Stream | None = None
        self.shown = b""
        self.dead = False
        self.run = 0, 1
        """The chunks that are served for one message: the first one, and how many."""
        self.faulted = False
        """The newest answer was a fault."""

    def send(self, message: Message, payload: Any = None) -> None:
        """Sends an answer; one that can't be sent any more is dropped, for the peer will say hello again."""
        if self.dead or self.stream is None or self.session is None:
            return
        self.faulted = isinstance(message, Fault)
        segment = self.session.segment
        if segment and payload is not None and isinstance(message, Reply) and _lies_there(message):
            self.session.shared(segment.pull, message.chunk, message.run)[:] = payload
            message.shared = True
            payload = None
        first, count = self.run
        if count > 1 and isinstance(message, Reply):
            if message.chunk < first + count - 1:
                return
            message.chunk, message.run = first, count
        try:
            if payload is None:
                self.stream.put_off(encode(message))
            else:
                self.stream.send(encode(message), payload)
        except Closed:
            self.dead = True
        # NB: in its own turn a connection is settled at the end, with all that it was answered.
        if not self._bulk.turning or self.dead or self.stream.queued:
            self._bulk.settle(self)

    @property
    def is_slow(self) -> bool:
        """More waits for this peer than it should."""
        return self.stream is not None and self.stream.queued > QUEUE_MOST


def _lies_there(message: Reply) -> bool:
    """Weights that answer a push go into shared memory; those of a bare pull, which may be asked for twice, do not.

    NB: an answer that comes twice would be written while the worker computes with it.
    """
    return message.codec == "fp32" and message.verdict != "pulled" and message.whole


Serve = Callable[[Connection, AnyMessage, Any], None]


class Bulk:
    """Listens at `address` (`tcp://host:port`, port 0 takes a free one, or `ipc://path`). Raises OSError."""

    def __init__(self, address: str, sealed: bool, job: str, shard: int) -> None:
        self._sealed, self._about = sealed, f"{job} shard {shard}"
        self._path: Path | None = None
        self._listener = self._listen(address)
        self._listener.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._sessions: dict[Peer, Session] = {}
        self._strangers: set[Connection] = set()
        self._unread: set[Connection] = set()
        self.takes: Callable[[Exchange], bool] = lambda message: False
        """Whether the shard can serve a message about several chunks whole."""
        self.turning = False
        """Connections are having their turns; those are settled when all have had theirs."""
        self._weights: shm.Weights | None = None
        self._sweep = False
        """A worker that shared memory is gone; the file may be left."""

    def _listen(self, address: str) -> socket.socket:
        if address.startswith("ipc://"):
            self._path = Path(address.removeprefix("ipc://"))
            self._path.unlink(missing_ok=True)
            listener = socket.socket(socket.AF_UNIX)
            listener.bind(str(self._path))
            listener.listen(BACKLOG)
            self.address = address
            return listener
        host, _, port = address.removeprefix("tcp://").rpartition(":")
        listener = socket.create_server((host.strip("[]"), int(port)), backlog=BACKLOG)
        self.address = f"tcp://:{listener.getsockname()[1]}"
        return listener

    def fileno(self) -> int:
        """What a poller waits for."""
        return self._selector.fileno()

    @property
    def unread(self) -> bool:
        """Frames have been received that had no turn yet: do not wait."""
        return any(not connection.is_slow for connection in self._unread)

    # -- sessions ----------------------------------------------------------------------------------

    def offer(self, hello: Hello, welcome: Welcome) -> None:
        """Chooses the lane of a peer that was just welcomed, and ends its earlier connection."""
        if not welcome.ready or len(hello.random) != RANDOM:
            return
        peer = hello.role, hello.index
        session = self._sessions.get(peer)
        if session is None or session.hello.random != hello.random:
            if session and session.connection:
                self._end(session.connection)
            segment = self._segment(hello)
            if segment is None and "tcp" not in hello.lanes:
                return
            part = Range(welcome.start, welcome.stop)
            session = self._sessions[peer] = Session(
                hello, os.urandom(TOKEN), os.urandom(RANDOM), segment, part
            )
        welcome.lane, welcome.address = "shm" if session.segment else "tcp", self.address
        if session.segment and self._weights:
            welcome.weights = self._weights.path.name
        welcome.token, welcome.random = session.token, session.random

    @staticmethod
    def _segment(hello: Hello) -> Segment | None:
        if "shm" not in hello.lanes or hello.role != "worker":
            return None
        return shm.open_segment(hello.segment, hello.segment_token, hello.size)

    def weights_memory(self, size: int) -> F32:
        """Memory for the shard's weights in which workers of this machine may read them; else memory of its own."""
        self._weights = shm.make_weights(size)
        return np.zeros(size, np.float32) if self._weights is None else self._weights.vector

    # -- the loop ----------------------------------------------------------------------------------

    def turn(self, serve: Serve) -> None:
        """Serves every connection that has something, a few frames each; never waits."""
        self.turning = True
        ready = {key.fileobj: (key.data, events) for key, events in self._selector.select(0)}
        if self._listener in ready:
            del ready[self._listener]
            self._accept()
        readable = {c for c, events in ready.values() if events & selectors.EVENT_READ}
        readable |= {connection for connection in self._unread if not connection.is_slow}
        self._unread -= readable
        for connection in readable:
            self._read(connection, serve)
        for connection in readable | {c for c, _ in ready.values()}:
            self.settle(connection)
        self.turning = False

    def _read(self, connection: Connection, serve: Serve) -> None:
        if connection.session is None and not self._introduced(connection):
            return
        stream = connection.stream
        assert stream is not None
        for _ in range(TURN):
            if connection.dead:
                return
            if connection.is_slow:
                # NB: what it has sent may lie here already, and no event will tell of it.
                break
            try:
                frame = stream.receive(lambda message, size: None)
            except Closed:
                connection.dead = True
                return
            if frame is None:
                return
            self._serve(connection, *frame, serve)
        self._unread.add(connection)

    def _serve(self, connection: Connection, message: AnyMessage, payload: Any, serve: Serve) -> None:
        """Only what the session's own peer may ask goes on to the shard."""
        assert connection.session is not None
        hello = connection.session.hello
        role = message.role if isinstance(message, Pull) else "worker"
        own = (hello.role, hello.index, hello.incarnation)
        if isinstance(message, Exchange | Pull) and (role, message.index, message.incarnation) == own:
            try:
                if isinstance(message, Exchange) and message.shared and connection.session.segment:
                    self._serve_shared(connection, message, serve)
                else:
                    serve(connection, message, payload)
            except ProtocolError as error:
                connection.send(Fault("protocol", str(error)))
        else:
            connection.send(Fault("protocol", f"{type(message).__name__} does not belong on this connection"))

    def _serve_shared(self, connection: Connection, message: Exchange, serve: Serve) -> None:
        """Chunks that lie in shared memory: at once where the shard can, else one after the other; then the last one's
        answer stands for all, or a fault does.

        NB: nobody else's push comes between them, so version and verdict are those of each.
        """
        session = connection.session
        assert session is not None and session.segment is not None
        if message.run > 1 and self.takes(message):
            vector = session.shared(session.segment.push, message.chunk, message.run)
            serve(connection, message, vector.data)
            return
        first, run, message.run = message.chunk, message.run, 1
        connection.run = first, run
        try:
            for chunk in range(first, first + run):
                message.chunk = chunk
                serve(connection, message, session.shared(session.segment.push, chunk, 1).data)
                if connection.faulted or connection.dead:
                    return
        finally:
            connection.run = 0, 1

    def _accept(self) -> None:
        for _ in range(ACCEPTED_MOST):
            try:
                sock, _ = self._listener.accept()
            except (BlockingIOError, InterruptedError, ConnectionAbortedError):
                return
            except OSError as error:
                # Out of descriptors, most likely: those who wait are let in after the next tick.
                say(f"a bulk connection could not be accepted: {error}")
                self._selector.unregister(self._listener)
                return
            if len(self._strangers) >= BULK_STRANGERS_MOST:
                self._end(min(self._strangers, key=lambda stranger: stranger.since))
            sock.setblocking(False)
            tune(sock)
            connection = Connection(sock, self)
            self._strangers.add(connection)
            self._selector.register(sock, selectors.EVENT_READ, connection)

    def _introduced(self, connection: Connection) -> bool:
        """Reads the token; with the right one the connection becomes its session's."""
        try:
            connection.shown += connection.socket.recv(TOKEN - len(connection.shown))
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            connection.dead = True
            return False
        if len(connection.shown) < TOKEN:
            connection.dead = not connection.shown
            return False
        session = next((s for s in self._sessions.values() if s.token == connection.shown), None)
        if session is None or session.connection is not None:
            connection.dead = True
            return False
        session.connection, connection.session = connection, session
        self._strangers.discard(connection)
        connection.stream = Stream(connection.socket, self._seal(session), copy=True)
        return True

    def _seal(self, session: Session) -> Seal | None:
        if not self._sealed:
            return None
        hello = session.hello
        about = f"{self._about} {hello.role} {hello.index} {hello.incarnation}"
        receiving, sending = session_keys(hello.random, session.random, about)
        return Seal(sending, receiving)

    def settle(self, connection: Connection) -> None:
        """After something was read or sent: ends a dead connection, or says what is waited for next."""
        if connection.stream and not connection.dead:
            try:
                connection.stream.flush()
            except Closed:
                connection.dead = True
        if connection.dead:
            self._end(connection)
        if connection.socket.fileno() < 0:
            return
        events = 0 if connection.is_slow else selectors.EVENT_READ
        if connection.stream and connection.stream.queued:
            events |= selectors.EVENT_WRITE
        if self._selector.get_key(connection.socket).events != events:
            self._selector.modify(connection.socket, events, connection)

    def _end(self, connection: Connection) -> None:
        connection.dead = True
        self._strangers.discard(connection)
        self._unread.discard(connection)
        if connection.session and connection.session.connection is connection:
            # NB: a token opens one connection; who lost it says hello again.
            connection.session.token = b""
            connection.session.connection = None
            self._sweep = self._sweep or connection.session.segment is not None
        if connection.socket.fileno() >= 0:
            with suppress(KeyError):
                self._selector.unregister(connection.socket)
            connection.socket.close()

    def tick(self, now: float, workers: Collection[int]) -> None:
        """Ends connections that never showed a token, and those of workers that are no members any more."""
        for stranger in [s for s in self._strangers if now - s.since > STRANGER_SECONDS]:
            self._end(stranger)
        if self._listener not in self._selector.get_map():
            self._selector.register(self._listener, selectors.EVENT_READ)
        if self._sweep:
            self._sweep = False
            shm.sweep()
        for peer in [peer for peer in self._sessions if peer[0] == "worker" and peer[1] not in workers]:
            if connection := self._sessions.pop(peer).connection:
                self._end(connection)

    def close(self) -> None:
        """Ends everything."""
        if self._weights:
            self._weights.remove()
        self._listener.close()
        for key in list(self._selector.get_map().values()):
            key.fileobj.close()  # type: ignore[union-attr]
        self._selector.close()
        if self._path:
            self._path.unlink(missing_ok=True)


def open_bulk(bind: str, asked: str, sealed: bool, job: str, shard: int) -> Bulk | None:
    """The bulk lanes of a server that listens at `bind`; None, and a line of why, where there can be none."""
    if sealed and not available():
        say("no bulk lane: the package cryptography (47 or newer) is missing, so everything goes over ZeroMQ")
        return None
    if asked:
        address = asked
    elif bind.startswith("ipc://"):
        address = f"{bind}.bulk"
    else:
        host, _, _ = bind.removeprefix("tcp://").rpartition(":")
        address = f"tcp://{'0.0.0.0' if host == '*' else host}:0"
    try:
        return Bulk(address, sealed, job, shard)
    except OSError as error:
        say(f"no bulk lane: cannot listen on {address}: {error}; everything goes over ZeroMQ")
        return None
