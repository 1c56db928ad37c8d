"""One shard's slice of a push on its way out, chunk by chunk: is it finite, and what goes over the wire for it.

With error feedback a chunk is encoded once and its frame kept until the push is through, for what is sent again must be
what was sent first. `Channel` decides when a chunk leaves and what becomes of the answer.
"""

from __future__ import annotations

from typing import Any

from asgd import kernel
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire.codec import Encoder
from asgd.wire.partition import Cuts


class Outgoing:
    """Frames of the pushes to a shard that is cut by `cuts`."""

    def __init__(self, codec: Codec, cuts: Cuts) -> None:
        self._codec, self._cuts = codec, cuts
        self.encoder = Encoder(codec, cuts.whole.size)
        self._encoders: dict[tuple[int, int], Encoder] = {(0, 1): self.encoder}
        """By (part, parts): error feedback is of the elements that are sent together."""
        self._frames: dict[int, Any] = {}
        self._vector: F32 | None = None
        self._part, self._parts = 0, 1
        self._sound = 0
        """The first chunk that was found to be inf or nan; those after it are not sent either."""
        self._looked_at = 0
        """Chunks that were looked at, each once and in their order."""

    def start(self, vector: F32 | None, part: int, parts: int, chunks: int) -> None:
        """Another exchange begins, about `chunks` chunks of a part; `vector` (size,) is None if nothing is pushed."""
        self._vector, self._part, self._parts = vector, part, parts
        self._sound, self._looked_at, self._frames = chunks, 0, {}

    def is_sound(self, chunk: int) -> bool:
        """Whether the push is finite up to this chunk."""
        if self._looked_at <= chunk < self._sound:
            assert self._vector is not None
            if not kernel.finite(self._vector[self._span(chunk)]):
                self._sound = chunk
            self._looked_at = chunk + 1
        return chunk < self._sound

    def frame(self, chunk: int, run: int = 1) -> Any:
        """The payload of a chunk; of several, which travel as they are, their (n,) elements."""
        if chunk in self._frames:
            return self._frames[chunk]
        assert self._vector is not None
        if run > 1:
            return self._vector[self._span(chunk, run)]
        encoder = self.encoder if self._parts == 1 else self._part_encoder()
        frame = encoder.encode(self._vector[self._span(chunk)], chunk)
        if encoder.residual is not None:
            self._frames[chunk] = frame
        return frame

    def through(self) -> None:
        """The push is acknowledged: nothing of it will be sent again."""
        self._frames = {}

    def forget(self) -> None:
        """What error feedback holds back is of weights that are undone."""
        for encoder in self._encoders.values():
            encoder.forget()

    def _span(self, chunk: int, run: int = 1) -> slice:
        return self._cuts.chunk(chunk, self._part, self._parts, run)

    def _part_encoder(self) -> Encoder:
        key = (self._part, self._parts)
        if key not in self._encoders:
            self._encoders[key] = Encoder(self._codec, self._cuts.part(*key).size)
        return self._encoders[key]
