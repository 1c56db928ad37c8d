"""Pulls as differences: the server sends what is new against that which the worker holds, packed with a lossy codec.

The server keeps a `Shadow` a worker, equal to the worker's `Mirror` bit for bit; what a frame could not say stays in
the difference and goes with the next one, so error feedback needs no residual. Each state of a chunk has a number that
its shard never gives twice, in no term. A request names the state that it holds: if that is not the shadow's (an answer
was lost, came twice, or this server is new) the whole chunk goes out, so a retry can never be applied on top of the
wrong state. A reply names the state that it builds on, so neither can a late one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire import codec as wire_codec
from asgd.wire import packing
from asgd.wire.messages import Reply
from asgd.wire.partition import CHUNK, chunk_count, chunk_slice

_TERM_BITS = 40
"""States that one term may number."""


class Shadow:
    """What one worker holds of a shard of `size` elements, as far as its requests have told."""

    def __init__(self, size: int) -> None:
        self.vector = np.empty(size, np.float32)
        self.states = [0] * chunk_count(size, CHUNK)


class Shadows:
    """A shard's shadows: 4 bytes x its parameters for each worker that pulls."""

    def __init__(self, codec: Codec, size: int, term: int) -> None:
        self._codec, self._size = codec, size
        self._workers: dict[int, Shadow] = {}
        self._scratch = np.empty(min(CHUNK, size), np.float32)
        self._state = term << _TERM_BITS

    @property
    def nbytes(self) -> int:
        """Memory of all shadows."""
        return 4 * self._size * len(self._workers)

    def forget(self, worker: int) -> None:
        """The worker is gone, or has joined anew: its next pull is a whole one."""
        self._workers.pop(worker, None)

    def answer(self, reply: Reply, worker: int, held: int, weights: F32) -> Any:
        """The payload that takes the worker's chunk `reply.chunk` from the state `held` to `weights` (m,), nearly.

        Fills in the reply's codec and states. The payload holds until the next call or update.
        """
        shadow = self._workers.get(worker)
        if shadow is None:
            shadow = self._workers[worker] = Shadow(self._size)
        self._state += 1
        base, shadow.states[reply.chunk] = shadow.states[reply.chunk], self._state
        part = shadow.vector[chunk_slice(self._size, reply.chunk, CHUNK)]
        reply.state = self._state
        if held == base != 0:
            rest = np.subtract(weights, part, out=self._scratch[: part.size])
            name, how = self._codec.pull, self._codec
            frame = wire_codec.packed(name, rest, None, how.block_size, how.pull_top_ratio)
            # NB: weights that became inf or nan are replaced, never corrected: inf - inf would stay nan for ever.
            if move(name, frame, part, how):
                reply.base, reply.codec = base, name
                return frame
        reply.base, reply.codec = 0, "fp32"
        part[:] = weights
        return weights


class Mirror:
    """The worker's end: the slice as the server's shadow has it, and the state of each chunk."""

    def __init__(self, codec: Codec, size: int) -> None:
        self._codec, self._size = codec, size
        self._held = Shadow(size)

    def state(self, chunk: int) -> int:
        """The state of a chunk to name in a request; 0: nothing is held."""
        return self._held.states[chunk]

    def take(self, reply: Reply, payload: Any, target: F32) -> bool:
        """Moves on to the reply's state and copies the chunk to `target` (m,); False: it builds on another state.

        Raises ProtocolError when the payload is not what the reply says.
        """
        part = self._held.vector[chunk_slice(self._size, reply.chunk, CHUNK)]
        if reply.base == 0:
            part[:] = wire_codec.decode(reply.codec, payload, part.size, self._codec, target)
        elif reply.base != self._held.states[reply.chunk]:
            return False
        elif not move(reply.codec, payload, part, self._codec):
            raise ProtocolError("a difference came with inf or nan")
        self._held.states[reply.chunk] = reply.state
        target[:] = part
        return True


def move(name: str, frame: Any, part: F32, codec: Codec) -> bool:
    """`part` (m,) += frame: the one addition that both ends do; False, and nothing is done, if it is not finite.

    Raises ProtocolError on a frame that is none.
    """
    ratio = codec.pull_top_ratio
    try:
        kind, arg = packing.KINDS.index(name), wire_codec.argument(name, part.size, codec.block_size, ratio)
        good = packing.largest(kind, frame, part.size, arg) < math.inf
        if good:
            packing.add(kind, frame, part, 1.0, arg)
    except ValueError as error:
        raise ProtocolError(f"a difference of {part.size} elements came as no {name} frame") from error
    return good
