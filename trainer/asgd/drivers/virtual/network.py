"""Wires in virtual time: every process has one link, busy in each direction with one message after the other.

A message leaves when the sender's link is free, takes the latency, and has arrived when the receiver's link has let
it in; so many workers that push to one server at once queue up at its link, as in a real rack.
"""

from __future__ import annotations

import math
from collections import defaultdict
from typing import Any

from asgd.drivers.virtual.clock import Action, Clock
from asgd.wire.messages import Message
from asgd.world.models import World

HEADER_BYTES = 64
"""About what a header and ZeroMQ's framing take beside the payload."""


class Network:
    """Delivers messages with `World`'s latency and bandwidth; processes are known by any hashable name."""

    loses = False
    """A message may be lost: whoever waits for an answer says it again."""

    def __init__(self, clock: Clock, world: World) -> None:
        self._clock, self._world = clock, world
        self._out: defaultdict[Any, float] = defaultdict(float)
        self._in: defaultdict[Any, float] = defaultdict(float)

    def send(
        self, source: Any, target: Any, message: Message, payload_bytes: int, deliver: Action
    ) -> None:  # fmt: skip
        """`deliver` happens at `target` when the message is there; from one source to one target in order."""
        now, world = self._clock.now, self._world
        transfer = 0.0 if math.isinf(world.bandwidth) else (payload_bytes + HEADER_BYTES) / world.bandwidth
        left = max(now, self._out[source]) + transfer
        self._out[source] = left
        # The first byte may go in while the last one is still on its way out.
        arrived = max(left + world.latency, self._in[target] + transfer)
        self._in[target] = arrived
        self._clock.after(arrived - now, deliver)
