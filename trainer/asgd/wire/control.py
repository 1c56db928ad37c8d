"""ZeroMQ sockets of the control channel: made, secured, bounded and read in one place.

A shard binds a ROUTER, every peer connects a DEALER. Outside `ipc` and `inproc` both ends use CURVE: the server proves
its key, and only clients that hold the job's client key are let in (ZAP). What a ROUTER holds is bounded in size,
number and time before it knows who speaks (`limits.py`, `connections.py`). Frames: header, then at most one payload.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import zmq
from zmq.auth.thread import ThreadAuthenticator

from asgd.errors import UserError
from asgd.wire import limits
from asgd.wire.connections import Watch

RECONNECT_MS = 20
RECONNECT_MAX_MS = 500
"""Over a network; on one machine an attempt costs next to nothing and pauses do not grow."""
CONNECT_MS = 2000
"""How long an attempt to connect may take."""
PING_MS = 2000
SILENT_MS = 10_000
"""How long the other end may leave pings unanswered; ZeroMQ's own thread answers them, however busy the server is."""


class Keys(msgspec.Struct, rename="camel", omit_defaults=True):
    """CURVE keys of a job, Z85 text. Workers get no `serverSecret`."""

    server_public: str
    client_public: str
    client_secret: str
    server_secret: str = ""

    @staticmethod
    def make() -> Keys:
        """Fresh random keys."""
        server_public, server_secret = zmq.curve_keypair()
        client_public, client_secret = zmq.curve_keypair()
        return Keys(
            server_public.decode(), client_public.decode(), client_secret.decode(), server_secret.decode()
        )

    @staticmethod
    def load(path: Path) -> Keys:
        """Reads a keys file. Raises UserError when it is missing or malformed."""
        try:
            return msgspec.json.decode(path.read_bytes(), type=Keys)
        except (OSError, msgspec.MsgspecError) as error:
            raise UserError(f"keys file {path}: {error}") from error


@dataclass(slots=True)
class Guard:
    """Lets in only clients with the job's key, by ZAP in a thread of its own; `close` ends it."""

    authenticator: ThreadAuthenticator

    def close(self) -> None:
        self.authenticator.stop()


class _OnlyClient:
    def __init__(self, public: str) -> None:
        self.public = public.encode()

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the client's public key, Z85 text, is the job's."""
        return key == self.public


def is_local(endpoint: str) -> bool:
    """Endpoints that never leave this machine are protected by file permissions instead of CURVE."""
    return endpoint.startswith(("ipc://", "inproc://"))


def inside(endpoint: str) -> bool:
    """Endpoints of this machine or container."""
    return endpoint.startswith(("ipc://", "inproc://", "tcp://127.", "tcp://localhost:", "tcp://[::1]:"))


def guard(context: zmq.Context[Any], keys: Keys) -> Guard:
    """Starts the authenticator that `router` with keys needs."""
    authenticator = ThreadAuthenticator(context)
    authenticator.start()
    authenticator.configure_curve_callback(domain="*", credentials_provider=_OnlyClient(keys.client_public))
    return Guard(authenticator)


class Router(zmq.Socket[bytes]):
    """A shard's socket. Over TCP its connections are watched."""

    watch: Watch | None = None

    def receive(self) -> tuple[bytes, Any, Any] | None:
        """The next (sender, header, payload or None), None when there is none; buffers live as long as they are held.

        The header is empty where the message is not made as it should be. NB: frames beyond the payload are dropped
        one by one: of a message of a million frames never more than one lies here.
        """
        try:
            sender = self.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return None
        if self.watch:
            self.watch.note(sender)
        frames: list[Any] = []
        count, more = 0, sender.more
        while more:
            frame = self.recv(zmq.NOBLOCK, copy=False)
            count, more = count + 1, frame.more
            if count <= limits.FRAMES_MOST:
                frames.append(frame.buffer)
        if not 0 < count <= limits.FRAMES_MOST:
            return sender.bytes, b"", None
        return sender.bytes, frames[0], frames[1] if count > 1 else None

    def answer(self, to: bytes, header: bytes, payload: Any = None) -> None:
        """Sends a copy to a peer; what finds it gone, or too slow to take it, is dropped: it will ask again."""
        frames: list[Any] = [to, header] if payload is None else [to, header, memoryview(payload)]
        for _ in range(2):
            try:
                self.send_multipart(frames, zmq.NOBLOCK)
                return
            except zmq.ZMQError as error:
                if error.errno == zmq.EHOSTUNREACH:
                    return
                if error.errno != zmq.EAGAIN:
                    raise
            # NB: ZeroMQ may not have looked yet at what the peer has taken. This makes it look.
            self.get(zmq.EVENTS)

    def close(self, linger: int | None = None) -> None:
        """Ends the watch as well."""
        if self.watch:
            watch, self.watch = self.watch, None
            watch.close()
        super().close(linger)


def router(context: zmq.Context[Any], endpoint: str, keys: Keys | None) -> Router:
    """A shard's socket, bound. Raises UserError when the address is in use."""
    socket: Router = context.socket(zmq.ROUTER, socket_class=Router)
    socket.linger = 1000
    _bound(socket)
    if keys and not is_local(endpoint):
        socket.curve_server = True
        socket.curve_secretkey = keys.server_secret.encode()
        socket.curve_publickey = keys.server_public.encode()
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        raise UserError(f"cannot listen on {endpoint}: {error}") from error
    if endpoint.startswith("tcp://"):
        socket.watch = Watch(socket)
    return socket


def _bound(socket: zmq.Socket[bytes]) -> None:
    """What may be held of a peer, for how long; to be set before binding."""
    socket.maxmsgsize = limits.FRAME_MOST
    # NB: who is gone or slow is told apart from who was answered (`Router.answer`); nothing ever waits for a peer.
    socket.router_mandatory = True
    socket.rcvhwm = socket.sndhwm = limits.QUEUED_MOST
    socket.handshake_ivl = int(limits.HANDSHAKE_SECONDS * 1000)
    socket.backlog = limits.BACKLOG
    # NB: a peer whose machine is lost says nothing; its connection ends after a minute.
    socket.tcp_keepalive, socket.tcp_keepalive_cnt = 1, 3
    socket.tcp_keepalive_idle, socket.tcp_keepalive_intvl = 30, 10


def dealer(context: zmq.Context[Any], endpoint: str, keys: Keys | None) -> zmq.Socket[bytes]:
    """A peer's socket, connecting; it reconnects by itself when the server comes back."""
    socket: zmq.Socket[bytes] = context.socket(zmq.DEALER)
    socket.linger = 200
    socket.reconnect_ivl = RECONNECT_MS
    socket.reconnect_ivl_max = 0 if inside(endpoint) else RECONNECT_MAX_MS
    if keys and not is_local(endpoint):
        socket.curve_serverkey = keys.server_public.encode()
        socket.curve_publickey = keys.client_public.encode()
        socket.curve_secretkey = keys.client_secret.encode()
    # NB: a machine that is lost says nothing. Without these a connection to it, or an attempt at one, stands for
    # minutes while its successor waits under a new address, which only a new attempt looks up.
    socket.connect_timeout = CONNECT_MS
    if not inside(endpoint):
        socket.heartbeat_ivl, socket.heartbeat_timeout = PING_MS, SILENT_MS
    socket.connect(endpoint)
    return socket
