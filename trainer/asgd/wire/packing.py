"""The codecs' inner loops in numpy, and the choice between them and the compiled ones: the bits are the same.

    bf16, fp16  2 bytes an element, rounded to nearest even; every nan becomes the same one
    int8        float32 scale a block (largest magnitude / 127), then a signed byte an element
    topk        exactly k elements of largest magnitude (nan beyond all), of equal ones the first: where they are
                (a bit an element if 16 k > n, else a uint32 count for each 65,536 elements and uint16 indices within
                them), then bf16 values
    onebit      float32 means of the positive and of the other elements a block, then a bit an element, each block
                beginning a byte of its own

`pack` keeps what a frame could not say: `kept += vector; frame = C(kept); kept -= frame` in one pass. What no frame
can say (inf, nan) is sent as such, for the receiver to refuse, and leaves 0 in `kept`. `arg` is the block's length, k
for topk, 0 for 16 bits. `unpack` and `add` take frames that `largest` has seen.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from asgd import kernel
from asgd.kernel import F32

Bytes = npt.NDArray[np.uint8]

KINDS = ("bf16", "fp16", "int8", "topk", "onebit")
"""Places in `_kernel.c`'s table."""
_SPAN = 1 << 16
_NAN = np.float32(np.nan)


def length(kind: int, n: int, arg: int) -> int:
    """Bytes of a frame of `n` elements."""
    if kind < 2:
        return 2 * n
    if KINDS[kind] == "topk":
        return (-(-n // 8) if 16 * arg > n else 4 * -(-n // _SPAN) + 2 * arg) + 2 * arg
    rows = -(-n // arg)
    if KINDS[kind] == "int8":
        return 4 * rows + n
    return 8 * rows + n // arg * -(-arg // 8) + -(-(n % arg) // 8)


def to_bf16(vector: F32) -> npt.NDArray[np.uint16]:
    """(n,) float32 -> (n,) bfloat16 bits."""
    bits = vector.view(np.uint32)
    rounded = ((bits + (((bits >> 16) & 1) + 0x7FFF)) >> 16).astype(np.uint16)
    return np.where(np.isnan(vector), np.uint16(0x7FC0), rounded)


def from_bf16(bits: npt.NDArray[np.uint16]) -> F32:
    """(n,) bfloat16 bits -> (n,) float32."""
    return (bits.astype(np.uint32) << 16).view(np.float32)


def _to_fp16(vector: F32) -> npt.NDArray[np.uint16]:
    halves = vector.astype(np.float16).view(np.uint16)
    return np.where(np.isnan(vector), np.uint16(0x7E00), halves)


def _rows(vector: F32, block: int, multiple: int = 1) -> F32:
    """(n,) as rows of one block each, whose length is rounded up to a multiple of `multiple`, filled up with 0."""
    width = -(-block // multiple) * multiple
    full = vector.size // block
    rows = np.zeros((-(-vector.size // block), width), np.float32)
    rows[:full, :block] = vector[: full * block].reshape(full, block)
    rows[full:, : vector.size % block] = vector[full * block :]
    return rows


def _flat(rows: npt.NDArray[Any], n: int, block: int) -> npt.NDArray[Any]:
    return rows[:, :block].reshape(-1)[:n]


def _int8(kept: F32, frame: Bytes, block: int) -> None:
    a = _rows(kept, block)
    scale = np.abs(a).max(axis=1) / np.float32(127)
    bad = ~np.isfinite(scale * np.float32(128))
    safe = np.where((scale > 0) & ~bad, scale, np.float32(1))
    # NB: the scale of a block of denormals is so coarse that levels beyond 127 would come out and wrap round.
    levels = np.clip(np.rint(a / safe[:, None]), -127, 127)
    levels[bad] = 0
    q = levels.astype(np.int8)
    rest = a - q.astype(np.float32) * np.where(bad, np.float32(0), scale)[:, None]
    rest[bad] = 0
    kept[:] = _flat(rest, kept.size, block)
    scale[bad] = _NAN
    frame[: scale.nbytes] = scale.view(np.uint8)
    frame[scale.nbytes :] = _flat(q, kept.size, block).view(np.uint8)


def _tree(rows: F32) -> F32:
    """Sums of rows (their length a multiple of 8): element i adds to lane i % 8, lanes are added as a tree."""
    lanes = np.zeros((len(rows), 8), np.float32)
    for start in range(0, rows.shape[1], 8):
        lanes += rows[:, start : start + 8]
    halves = lanes[:, :4] + lanes[:, 4:]
    quarters = halves[:, :2] + halves[:, 2:]
    return np.asarray(quarters[:, 0] + quarters[:, 1], np.float32)


def _onebit(kept: F32, frame: Bytes, block: int) -> None:
    a = _rows(kept, block, 8)
    positive = a > 0
    counts = positive.sum(axis=1)
    others = np.full(len(a), block) - counts
    others[-1:] -= len(a) * block - kept.size
    up = _tree(np.where(positive, a, np.float32(0))) / np.maximum(counts, 1).astype(np.float32)
    down = _tree(np.where(positive, np.float32(0), a)) / np.maximum(others, 1).astype(np.float32)
    bad = ~(np.isfinite(up) & np.isfinite(down))
    rest = a - np.where(positive, up[:, None], down[:, None])
    rest[bad], positive[bad], up[bad], down[bad] = 0, False, _NAN, _NAN
    kept[:] = _flat(rest, kept.size, block)
    means = np.stack([up, down], axis=1)
    frame[: means.nbytes] = means.reshape(-1).view(np.uint8)
    bits = np.packbits(positive, axis=1, bitorder="little").reshape(-1)
    frame[means.nbytes :] = bits[: frame.size - means.nbytes]


def _topk(kept: F32, frame: Bytes, k: int) -> None:
    # NB: all nan are alike, since which one a sum of two makes is anyone's choice.
    sizes = np.minimum(kept.view(np.uint32) & np.uint32(0x7FFFFFFF), np.uint32(0x7F800001))
    least = np.partition(sizes, kept.size - k)[kept.size - k] if k else np.uint32(0xFFFFFFFF)
    larger, equal = np.flatnonzero(sizes > least), np.flatnonzero(sizes == least)
    index = np.sort(np.concatenate([larger, equal[: k - larger.size]]))
    values = to_bf16(kept[index])
    rest = kept[index] - from_bf16(values)
    kept[index] = np.where(np.isfinite(rest), rest, np.float32(0))
    frame[frame.size - 2 * k :] = values.view(np.uint8)
    if 16 * k > kept.size:
        chosen = np.zeros(kept.size, bool)
        chosen[index] = True
        frame[: frame.size - 2 * k] = np.packbits(chosen, bitorder="little")
        return
    counts = np.bincount(index // _SPAN, minlength=-(-kept.size // _SPAN)).astype(np.uint32)
    frame[: counts.nbytes] = counts.view(np.uint8)
    frame[counts.nbytes : counts.nbytes + 2 * k] = (index % _SPAN).astype(np.uint16).view(np.uint8)


def pack_numpy(kind: int, kept: F32 | None, vector: F32 | None, frame: Bytes, arg: int) -> None:
    """`kept` (n,) += `vector` (n,), if there is one; `frame` = C(kept); kept -= frame. 16 bits: frame = C(vector)."""
    with np.errstate(all="ignore"):
        if kind < 2:
            assert vector is not None
            frame[:] = (to_bf16(vector) if kind == 0 else _to_fp16(vector)).view(np.uint8)
            return
        assert kept is not None
        if vector is not None:
            kept += vector
        {"int8": _int8, "onebit": _onebit, "topk": _topk}[KINDS[kind]](kept, frame, arg)


def _entries(frame: Any, n: int, k: int) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.uint16]]:
    """Places and values of a topk frame. Raises ValueError when the places are not k ascending ones below n."""
    nbytes = memoryview(frame).nbytes
    values = np.frombuffer(frame, np.uint16, k, nbytes - 2 * k)
    if 16 * k > n:
        places = np.flatnonzero(np.unpackbits(np.frombuffer(frame, np.uint8, -(-n // 8)), bitorder="little"))
    else:
        counts = np.frombuffer(frame, np.uint32, -(-n // _SPAN)).astype(np.int64)
        if counts.sum() != k:
            raise ValueError("counts")
        places = np.frombuffer(frame, np.uint16, k, 4 * counts.size).astype(np.intp)
        places += np.repeat(np.arange(counts.size) * _SPAN, counts)
    if places.size != k or (k and (places[-1] >= n or np.any(np.diff(places) <= 0))):
        raise ValueError("places")
    return places, values


def largest_numpy(kind: int, frame: Any, n: int, arg: int) -> float:
    """The largest magnitude that a frame of `n` elements can stand for, inf if not all of them are finite.

    Raises ValueError when it is no frame of this kind.
    """
    if memoryview(frame).nbytes != length(kind, n, arg):
        raise ValueError("length")
    name = KINDS[kind]
    if name in ("int8", "onebit"):
        heads = np.frombuffer(frame, np.float32, -(-n // arg) * (2 if name == "onebit" else 1))
        with np.errstate(all="ignore"):
            if not np.isfinite(heads * np.float32(128 if name == "int8" else 1)).all():
                return math.inf
            return float(np.abs(heads).max(initial=0) * np.float32(127 if name == "int8" else 1))
    halves = _entries(frame, n, arg)[1] if name == "topk" else np.frombuffer(frame, np.uint16, n)
    top = (halves & np.uint16(0x7FFF)).max(initial=0, keepdims=True)
    if top[0] >= (0x7C00 if name == "fp16" else 0x7F80):
        return math.inf
    return float(top.view(np.float16)[0] if name == "fp16" else from_bf16(top)[0])


def unpack_numpy(kind: int, frame: Any, out: F32, arg: int) -> None:
    """`out` (n,) = frame."""
    name, n = KINDS[kind], out.size
    with np.errstate(all="ignore"):
        if name == "bf16":
            out[:] = from_bf16(np.frombuffer(frame, np.uint16, n))
        elif name == "fp16":
            out[:] = np.frombuffer(frame, np.float16, n)
        elif name == "topk":
            places, values = _entries(frame, n, arg)
            out[:] = 0
            out[places] = from_bf16(values)
        elif name == "int8":
            scale = np.frombuffer(frame, np.float32, -(-n // arg))
            out[:] = np.frombuffer(frame, np.int8, n, scale.nbytes)
            out *= np.repeat(scale, arg)[:n]
        else:
            out[:] = _from_onebit(frame, n, arg)


def _from_onebit(frame: Any, n: int, block: int) -> F32:
    rows, width = -(-n // block), -(-block // 8)
    means = np.frombuffer(frame, np.float32, 2 * rows).reshape(rows, 2)
    packed = np.zeros(rows * width, np.uint8)
    sent = np.frombuffer(frame, np.uint8, offset=means.nbytes)
    packed[: sent.size] = sent
    positive = np.unpackbits(packed.reshape(rows, width), axis=1, bitorder="little").astype(bool)
    return _flat(np.where(positive, means[:, :1], means[:, 1:]), n, block)


def add_numpy(kind: int, frame: Any, w: F32, a: float, arg: int) -> None:
    """`w` (n,) += frame * a, each product rounded before it is added; topk leaves alone what it does not send."""
    if KINDS[kind] == "topk":
        places, values = _entries(frame, w.size, arg)
        with np.errstate(all="ignore"):
            w[places] += from_bf16(values) * np.float32(a)
        return
    vector = np.empty_like(w)
    unpack_numpy(kind, frame, vector, arg)
    with np.errstate(all="ignore"):
        kernel.axpy_numpy(w, vector, a)


_compiled: Any = kernel.COMPILED_MODULE
pack = _compiled.pack if _compiled else pack_numpy
largest = _compiled.frame_largest if _compiled else largest_numpy
unpack = _compiled.unpack if _compiled else unpack_numpy
add = _compiled.add if _compiled else add_numpy
