"""Question and answer over the control channel: leases, evaluation results, commands.

An unanswered question is asked again on a fresh socket, so a late answer is never taken for the next question's.
Whatever is asked this way must therefore be idempotent or harmless twice.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any

import msgspec
import zmq

from asgd.errors import ProtocolError, TryAgain
from asgd.spec.status import Status
from asgd.wire import control
from asgd.wire.messages import AnyMessage, Command, Done, Message, decode, encode

ASK_AGAIN_SECONDS = 1.0


class Asker:
    """Asks the server at `endpoint`; one question at a time, from one thread."""

    def __init__(self, endpoint: str, keys: control.Keys | None) -> None:
        self._context: zmq.Context[Any] = zmq.Context()
        self._endpoint, self._keys = endpoint, keys
        self._socket = control.dealer(self._context, endpoint, keys)

    def ask(self, message: Message, patience_seconds: float, give_up_on: Sequence[int] = ()) -> AnyMessage:
        """The answer to `message`. Raises TryAgain when none comes within `patience_seconds`, or as soon as one of the
        descriptors `give_up_on` can be read."""
        also = [(descriptor, zmq.POLLIN) for descriptor in give_up_on]
        deadline = time.monotonic() + patience_seconds
        while (left := deadline - time.monotonic()) > 0:
            self._socket.send(encode(message))
            patience = int(min(ASK_AGAIN_SECONDS, left) * 1000)
            ready: dict[Any, int] = dict(zmq.zmq_poll([(self._socket, zmq.POLLIN), *also], patience))
            if self._socket in ready:
                return decode(self._socket.recv())
            self._socket.close(0)
            self._socket = control.dealer(self._context, self._endpoint, self._keys)
            if ready:
                raise TryAgain(f"{self._endpoint} was not waited for")
        raise TryAgain(f"{self._endpoint} has not answered for {patience_seconds:.0f} s")

    def close(self) -> None:
        """Ends the connection."""
        self._context.destroy(linger=0)


def status_of(answer: AnyMessage) -> Status | None:
    """The job's status in the answer to `Command("status")`; None before shard 0 has anything to say.

    Raises ProtocolError where this version cannot read it.
    """
    if not isinstance(answer, Done) or len(answer.body) <= len(b"{}"):
        return None
    try:
        return msgspec.json.decode(answer.body, type=Status)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"malformed status: {error}") from error


def ask_status(asker: Asker, patience_seconds: float) -> Status | None:
    """What shard 0 tells of the job; None where it tells nothing in time. Raises ProtocolError."""
    try:
        return status_of(asker.ask(Command("status"), patience_seconds))
    except TryAgain:
        return None
