"""Passes messages to a server's core and its answers on: the one dispatch of sockets, virtual time and a replay.

A driver says when something has come or time has passed, and gets each answer to those whom it is for.
"""

from __future__ import annotations

from typing import Any

from asgd.errors import ProtocolError
from asgd.server.answers import Answers, Sender
from asgd.server.core import ServerCore
from asgd.wire.messages import AnyMessage, Message


class Dispatch:
    """For the core of this moment: a driver's server may come and go."""

    # -- what drivers give -------------------------------------------------------------------------

    def now(self) -> float:
        """Seconds, of a clock that never goes back."""
        raise NotImplementedError

    def send(self, to: Sender, message: Message, body: Any) -> None:
        """Gets an answer on its way; `body` is good until the core is told more."""
        raise NotImplementedError

    def answering(self, message: AnyMessage, answers: Answers) -> None:
        """`message` is answered by these, which have not left."""

    def refused(self, core: ServerCore, sender: Sender, message: AnyMessage, error: ProtocolError) -> None:
        """A message breaks the rules: its sender hears so."""
        self.send(sender, core.refuse(sender, message, "protocol", str(error)), None)

    # -- what drivers call -------------------------------------------------------------------------

    def serve(self, core: ServerCore, sender: Sender, message: AnyMessage, payload: Any) -> None:
        """One message has come."""
        try:
            answers = core.receive(sender, message, payload, self.now())
            self.answering(message, answers)
            self.send_all(answers)
        except ProtocolError as error:
            self.refused(core, sender, message, error)

    def settle(self, core: ServerCore) -> None:
        """A few messages have come: what they have made possible is done."""
        self.send_all(core.settle(self.now()))
        self.release(core)

    def tick(self, core: ServerCore) -> None:
        """`TICK_SECONDS` have passed."""
        self.send_all(core.tick(self.now()))
        self.release(core)

    def release(self, core: ServerCore) -> None:
        """Pulls that were held back and need not be any more are served."""
        for sender, pull in core.released():
            self.serve(core, sender, pull, None)

    def send_all(self, answers: Answers) -> None:
        for to, message, body in answers:
            self.send(to, message, body)
