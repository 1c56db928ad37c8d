"""How a chunk of float32 looks on the wire: full precision, 16 bits, or packed with error feedback.

`Encoder` belongs to who pushes: the lossy codecs keep what they could not send and add it to the next push
(algorithms.md section 10: `a = g + e; q = C(a); e = a - q`). `largest`, `decode` and `add` are stateless. Everything
works on one chunk at a time, in the processor's cache; the loops and the frames' layouts are `packing.py`'s, and what
goes the other way as a difference is `delta.py`'s.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from asgd import kernel
from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire import packing
from asgd.wire.partition import CHUNK, chunk_slice

LOSSY = ("int8", "topk", "onebit")


def argument(name: str, size: int, block: int, ratio: float) -> int:
    """What `packing` wants to know of a chunk of `size` elements: the block's length, k, or nothing."""
    if name == "topk":
        return min(size, max(1, round(size * ratio)))
    return block if name in LOSSY else 0


def packed(
    name: str, kept: F32 | None, vector: F32 | None, block: int, ratio: float
) -> npt.NDArray[np.uint8]:
    """The frame of `kept` += `vector` (n,), from which it is then taken away (`packing.pack`)."""
    size = kept.size if kept is not None else vector.size if vector is not None else 0
    kind, arg = packing.KINDS.index(name), argument(name, size, block, ratio)
    frame = np.empty(packing.length(kind, size, arg), np.uint8)
    packing.pack(kind, kept, vector, frame, arg)
    return frame


class Encoder:
    """Encodes a shard's pushes chunk by chunk; the lossy codecs keep a residual of the shard's size.

    `encode` returns something ZeroMQ can send: for fp32 the vector itself, without a copy.
    """

    def __init__(self, codec: Codec, size: int) -> None:
        self.codec, self.size = codec, size
        self.residual = np.zeros(size, np.float32) if codec.push in LOSSY else None

    def forget(self) -> None:
        """What earlier pushes left over does not belong to the next ones."""
        if self.residual is not None:
            self.residual.fill(0)

    def encode(self, vector: F32, chunk: int) -> Any:
        """`vector` (m,) is chunk number `chunk` of the shard's push."""
        if self.residual is None:
            return pack(self.codec.push, vector)
        kept = self.residual[chunk_slice(self.size, chunk, CHUNK)]
        return packed(self.codec.push, kept, vector, self.codec.block_size, self.codec.top_ratio)


def pack(name: str, vector: F32) -> Any:
    """(n,) float32 as a frame of the stateless codec `name`: fp32 (no copy), or the (n,) bits of bf16 or fp16."""
    return vector if name == "fp32" else packed(name, None, vector, 0, 0).view(np.uint16)


def largest(name: str, frame: Any, size: int, codec: Codec) -> float:
    """The largest magnitude of the (size,) elements of a frame, inf if any is inf or nan.

    Raises ProtocolError when there is no frame, or it is not what the codec and size ask for.
    """
    return kernel.largest(_plain(frame, size)) if name == "fp32" else _packed(name, frame, size, codec)


def _plain(frame: Any, size: int) -> F32:
    """An fp32 frame as what it is."""
    if frame is None or memoryview(frame).nbytes != 4 * size:
        raise _refused("fp32", frame, size)
    return np.frombuffer(frame, np.float32, size)


def _packed(name: str, frame: Any, size: int, codec: Codec) -> float:
    if name not in packing.KINDS:
        raise ProtocolError(f"unknown codec {name!r}")
    if frame is None:
        raise _refused(name, frame, size)
    arg = argument(name, size, codec.block_size, codec.top_ratio)
    try:
        return float(packing.largest(packing.KINDS.index(name), frame, size, arg))
    except ValueError as error:
        raise _refused(name, frame, size) from error


def _refused(name: str, frame: Any, size: int) -> ProtocolError:
    sent = "no" if frame is None else f"{memoryview(frame).nbytes} bytes of"
    return ProtocolError(f"{sent} payload for a {name} chunk of {size} elements")


def decode(name: str, frame: Any, size: int, codec: Codec, scratch: F32) -> F32:
    """The (size,) float32 vector of a frame: a view of the frame for fp32, else written into `scratch` (>= size,).

    Raises ProtocolError as `largest` does.
    """
    if name == "fp32":
        return _plain(frame, size)
    _packed(name, frame, size, codec)
    out = scratch[:size]
    arg = argument(name, size, codec.block_size, codec.top_ratio)
    packing.unpack(packing.KINDS.index(name), frame, out, arg)
    return out


def add(name: str, frame: Any, w: F32, a: float, codec: Codec) -> None:
    """`w` (n,) += frame * a in one pass, with the bits of decoding first; the frame was found to be finite.

    NB: topk leaves alone what it does not send, which is the same only when `a` is negative: w + -0 is w.
    """
    if name == "fp32":
        kernel.axpy(w, np.frombuffer(frame, np.float32, w.size), a)
        return
    arg = argument(name, w.size, codec.block_size, codec.top_ratio)
    packing.add(packing.KINDS.index(name), frame, w, a, arg)


def add_below(name: str, frame: Any, w: F32, a: float, limit: float, codec: Codec) -> float:
    """`add` of a frame that nobody has looked at; returns its largest magnitude, as `largest` does.

    Not all is added if that reaches `limit`: of fp32 what comes before is in then. Raises ProtocolError as `largest`.
    """
    if name == "fp32":
        return kernel.add_below(w, _plain(frame, w.size), a, limit)
    found = largest(name, frame, w.size, codec)
    if found < limit:
        add(name, frame, w, a, codec)
    return found
