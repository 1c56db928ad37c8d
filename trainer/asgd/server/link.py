"""Shards other than 0 report to shard 0 and learn from it: who is a member, which save round is due, when to stop.

They never wait for it: if shard 0 is down they go on serving with what they know.
"""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import msgspec
import zmq

from asgd.errors import ProtocolError
from asgd.host.env import ProcessConfig
from asgd.server.metrics import Traffic
from asgd.server.saves.saver import Saver
from asgd.server.shard import Shard
from asgd.wire import control
from asgd.wire.messages import Beat, Beaten, Decided, Gathered, decode, encode

GRACE_SECONDS = 3.0
"""A worker that said hello here is not dropped at once when shard 0 does not list it yet."""


class Link:
    """The connection of shard `config.index` to shard 0."""

    def __init__(
        self, context: zmq.Context[Any], config: ProcessConfig, shard: Shard, traffic: Traffic
    ) -> None:
        self.socket = control.dealer(context, config.servers[0], config.keys)
        # NB: reports are snapshots; while shard 0 is away only the newest is worth keeping.
        self.socket.sndhwm = 4
        self._shard, self._traffic = shard, traffic
        self._heard = Beaten()
        self._missing: dict[int, float] = {}
        self._report: dict[str, Any] = {}
        self._leaving_after: int | None = None

    @property
    def stop(self) -> str:
        """Why the job stops; empty while it runs."""
        return self._heard.stop

    @property
    def saved(self) -> int:
        """The newest round that is complete."""
        return self._heard.saved

    @property
    def all_saved(self) -> bool:
        """A round that began after `leave` is complete, or the job is over and its last round too, well or not."""
        later = self._leaving_after is not None and self._heard.saved > self._leaving_after
        return later or self._heard.final

    def leave(self) -> None:
        """This server was told to end: ask shard 0 for a round first."""
        self._leaving_after = self._heard.saved - (1 if self._heard.stop and self._unchanged() else 0)

    def _unchanged(self) -> bool:
        part = self._report.get("part")
        return part is not None and part["version"] == self._shard.state.version

    def report_save(self, saver: Saver) -> None:
        """Tells shard 0 about the newest part."""
        if saver.round:
            self._report["saved"] = saver.round
            self._report["part"] = msgspec.to_builtins(saver.result) if saver.result else None
            self._report["error"] = saver.error

    def save_order(self) -> tuple[int, int] | None:
        """The announced round and its version."""
        return (self._heard.save, self._heard.save_at) if self._heard.save else None

    def tick(self, now: float) -> None:
        """Sends the report and drops workers that shard 0 does not know."""
        shard = self._shard
        self._report |= {
            "version": shard.state.version,
            "histogram": {str(k): v for k, v in shard.histogram.items()},
            "refused": dict(shard.refused),
            "lost": shard.lost + shard.lost_before,
            "sent": self._traffic.sent,
            "received": self._traffic.received,
            "saved_bytes": shard.saved,
            "leaving": self._leaving_after is not None,
        }
        beat = Beat("shard", shard.index, shard.term, self._report)
        try:
            self.socket.send(encode(beat), zmq.NOBLOCK)
        except zmq.Again:
            return
        self._forget(now)

    def _forget(self, now: float) -> None:
        for index, incarnation in list(self._shard.members.items()):
            if self._heard.members.get(index, 0) >= incarnation or not self._heard.workers:
                self._missing.pop(index, None)
            elif now - self._missing.setdefault(index, now) > GRACE_SECONDS:
                self._shard.leave(index, incarnation)
                self._missing.pop(index, None)

    def send(self, message: Gathered) -> None:
        """Tells shard 0 at once; a report that finds no room is repeated by the next tick."""
        with suppress(zmq.Again):
            self.socket.send(encode(message), zmq.NOBLOCK)

    def receive(self) -> list[Decided]:
        """Takes in what shard 0 said; returns its orders for rounds."""
        orders = []
        while self.socket.poll(0):
            try:
                message = decode(self.socket.recv())
            except ProtocolError:
                continue
            if isinstance(message, Decided):
                orders.append(message)
            elif isinstance(message, Beaten):
                self._heard = message
                if message.dataset is not None:
                    self._shard.state.dataset = message.dataset
                for index in message.resting:
                    self._shard.rest(index)
        return orders
