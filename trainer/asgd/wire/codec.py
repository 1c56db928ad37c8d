"""How a chunk of float32 looks on the wire: full precision, 16 bits, or packed with error feedback.

`Encoder` belongs to the worker: the lossy codecs keep what they could not send and add it to the next push
(algorithms.md
section 10: `a = g + e; q = C(a); e = a - q`). `decode` is stateless. Everything works on one chunk at a
time, since 16-bit
arithmetic on whole tensors is many times slower (performance.md, prototype lesson 5). bf16 rounds to nearest even.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire.partition import CHUNK, chunk_slice

LOSSY = ("int8", "topk", "onebit")


def to_bf16(vector: F32) -> npt.NDArray[np.uint16]:
    """(n,) float32 -> (n,) bfloat16 bits, rounded to nearest even; nan stays nan."""
    bits = vector.view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype(np.uint16)
    return np.where(np.isnan(vector), np.uint16(0x7FC0), rounded)


def from_bf16(bits: npt.NDArray[np.uint16], out: F32) -> F32:
    """(n,) bfloat16 bits -> `out` (n,) float32."""
    view = out.view(np.uint32)
    view[:] = bits
    view <<= 16
    return out


def _int8(a: F32, block: int) -> tuple[bytes, F32]:
    padded = np.zeros(-(-a.size // block) * block, np.float32)
    padded[: a.size] = a
    rows = padded.reshape(-1, block)
    scale = np.abs(rows).max(axis=1) / np.float32(127)
    safe = np.where(scale > 0, scale, np.float32(1))
    # NB: the scale of a block of denormals is so coarse that levels beyond 127 would come out and wrap round.
    levels = np.clip(np.rint(rows / safe[:, None]), -127, 127).astype(np.int8)
    sent = (levels * scale[:, None]).astype(np.float32).reshape(-1)[: a.size]
    return scale.tobytes() + levels.reshape(-1)[: a.size].tobytes(), sent


def _topk(a: F32, ratio: float) -> tuple[bytes, F32]:
    k = max(1, min(a.size, round(a.size * ratio)))
    index = np.sort(np.argpartition(np.abs(a), a.size - k)[a.size - k :]).astype(np.uint32)
    values = a[index]
    sent = np.zeros_like(a)
    sent[index] = values
    return index.tobytes() + values.tobytes(), sent


def _onebit(a: F32, block: int) -> tuple[bytes, F32]:
    padded = np.zeros(-(-a.size // block) * block, np.float32)
    padded[: a.size] = a
    rows = padded.reshape(-1, block)
    positive = rows > 0
    counts = positive.sum(axis=1)
    others = block - counts
    others[-1:] -= padded.size - a.size
    high = np.where(positive, rows, 0).sum(axis=1) / np.maximum(counts, 1)
    low = np.where(positive, 0, rows).sum(axis=1) / np.maximum(others, 1)
    means = np.stack([high, low]).astype(np.float32)
    sent = np.where(positive, means[0][:, None], means[1][:, None]).reshape(-1)[: a.size]
    return means.tobytes() + np.packbits(positive).tobytes(), sent.astype(np.float32)


class Encoder:
    """Encodes a shard's pushes chunk by chunk; the lossy codecs keep a residual of the shard's size.

    `encode` returns something ZeroMQ can send: for fp32 the vector itself, without a copy.
    """

    def __init__(self, codec: Codec, size: int) -> None:
        self.codec, self.size = codec, size
        self.residual = np.zeros(size, np.float32) if codec.push in LOSSY else None

    def encode(self, vector: F32, chunk: int) -> Any:
        """`vector` (m,) is chunk number `chunk` of the shard's push."""
        if self.residual is None:
            return pack(self.codec.push, vector)
        kept = self.residual[chunk_slice(self.size, chunk, CHUNK)]
        kept += vector
        name, block = self.codec.push, self.codec.block_size
        if name == "int8":
            frame, sent = _int8(kept, block)
        elif name == "onebit":
            frame, sent = _onebit(kept, block)
        else:
            frame, sent = _topk(kept, self.codec.top_ratio)
        kept -= sent
        return frame


def pack(name: str, vector: F32) -> Any:
    """(n,) float32 as a frame of the stateless codec `name`: fp32 (no copy), bf16, fp16."""
    if name == "bf16":
        return to_bf16(vector)
    return vector if name == "fp32" else vector.astype(np.float16)


def decode(name: str, frame: Any, size: int, codec: Codec, scratch: F32) -> F32:
    """The (size,) float32 vector of a frame: a view of the frame for fp32, else written into `scratch` (>= size,).

    Raises ProtocolError when there is no frame, or its length is not what the codec and size ask for.
    """
    if frame is None:
        raise ProtocolError(f"a {name} chunk of {size} elements came without its payload")
    out = scratch[:size]
    try:
        if name == "fp32":
            _exact(frame, 4 * size)
            return np.frombuffer(frame, np.float32, size)
        if name == "fp16":
            _exact(frame, 2 * size)
            out[:] = np.frombuffer(frame, np.float16, size)
        elif name == "bf16":
            _exact(frame, 2 * size)
            from_bf16(np.frombuffer(frame, np.uint16, size), out)
        elif name == "topk":
            _from_topk(frame, out)
        elif name in ("int8", "onebit"):
            _from_blocks(name, frame, codec.block_size, out)
        else:
            raise ProtocolError(f"unknown codec {name!r}")
    except (ValueError, IndexError) as error:
        sent = memoryview(frame).nbytes
        raise ProtocolError(f"payload of {sent} bytes is no {name} chunk of {size} elements") from error
    return out


def _exact(frame: Any, expected: int) -> None:
    if memoryview(frame).nbytes != expected:
        raise ValueError("length")


def _from_topk(frame: Any, out: F32) -> None:
    count = memoryview(frame).nbytes // 8
    _exact(frame, count * 8)
    out[:] = 0
    out[np.frombuffer(frame, np.uint32, count)] = np.frombuffer(frame, np.float32, count, 4 * count)


def _from_blocks(name: str, frame: Any, block: int, out: F32) -> None:
    rows = -(-out.size // block)
    if name == "int8":
        _exact(frame, 4 * rows + out.size)
        scale = np.frombuffer(frame, np.float32, rows)
        out[:] = np.frombuffer(frame, np.int8, out.size, 4 * rows)
        out *= np.repeat(scale, block)[: out.size]
        return
    _exact(frame, 8 * rows + -(-rows * block // 8))
    means = np.frombuffer(frame, np.float32, 2 * rows).reshape(2, rows)
    bits = np.unpackbits(np.frombuffer(frame, np.uint8, offset=8 * rows), count=rows * block)
    out[:] = np.where(bits.astype(bool), np.repeat(means[0], block), np.repeat(means[1], block))[: out.size]
