"""What people, `asgd run`, the operator and the evaluator ask of shard 0 by one word. Pure."""

from __future__ import annotations

from collections.abc import Collection

import msgspec

from asgd.server.collecting import Collecting
from asgd.server.coordinator import Coordinator
from asgd.wire.messages import Command, Done, Fault

KNOWN = ("status", "stop", "save", "buffers", "saves")


class Commands:
    """Of one job; `collecting` is None where there is no checkpoint store."""

    def __init__(self, coordinator: Coordinator, collecting: Collecting | None) -> None:
        self._coordinator, self._collecting = coordinator, collecting
        self.buffers: dict[int, bytes] = {}
        """{worker: its newest float buffers}, for the evaluator."""
        self.rejected: Collection[int] = ()
        """Workers that the strategy does not listen to."""

    def serve(self, message: Command, status: bytes, now: float) -> Done | Fault:
        """The answer to a command; `status`: the job's newest one, as JSON."""
        match message.verb:
            case "status":
                return Done(status)
            case "stop":
                self._coordinator.stop(message.argument or "stopped", now)
            case "save":
                if self._collecting:
                    self._collecting.ask(now)
            case "buffers":
                return Done(msgspec.msgpack.encode(self._told_buffers()))
            case "saves":
                return Done(msgspec.msgpack.encode(self._collecting.saves() if self._collecting else []))
            case unknown:
                return Fault("protocol", f"unknown command {unknown!r}; known: {', '.join(KNOWN)}")
        return Done()

    def tick(self) -> None:
        """Who has left while others train on has no say in the answer: its buffers are of weights of long ago."""
        members = self._coordinator.members
        if members and not self._coordinator.stop_reason and self.buffers.keys() - members.keys():
            self.buffers = {index: told for index, told in self.buffers.items() if index in members}

    def _told_buffers(self) -> list[bytes]:
        """Buffers of the live workers, lowest first; of those that were there last, when none is left."""
        told = sorted(self.buffers.items())
        told = [one for one in told if one[0] not in self.rejected] or told
        live = [buffers for index, buffers in told if index in self._coordinator.members]
        return live or [buffers for _, buffers in told]
