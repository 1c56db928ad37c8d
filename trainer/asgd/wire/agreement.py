"""Whether two processes of a job have the same data and the same model: compact descriptions, and how they differ.

A `Part` describes one sample, frozen parameter or buffer. Structure, types, shapes, integers and strings are hashed and
must be equal. Of floats there are a length and two sums with fixed factors, which must be equal within `TOLERANCE`:
other processors and libraries round otherwise, while another sample or another draw differs by far more. Pure: reading
is the worker's (`worker/task/agreeing.py`), and who is refused shard 0's (`server/agreement.py`).
"""

from __future__ import annotations

import dataclasses
import functools
import hashlib
from collections.abc import Callable, Mapping, Sequence
from collections.abc import Set as AnySet
from typing import Annotated, Any

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec import Meta, Struct

from asgd.errors import ProtocolError
from asgd.wire.limits import DIGEST_MOST, DIGEST_PARTS_MOST, NAME_MOST
from asgd.wire.partition import named_tensors

TOLERANCE = 1e-3
"""Of an array's root mean square. Bits of float32 are 1e-7, results of other libraries 1e-5, another value of one
element in a million 1e-3."""
FLOATS_MOST = 1 << 14
INTEGERS_MOST = 1 << 20
"""Elements of one array that are looked at, evenly spread."""
LEAVES_MOST = 10_000
"""Values of one sample that are looked at, and as deep as this:"""
DEPTH_MOST = 16
NOISE = 1e-9
"""What rounding may leave of values that are 0."""
LOSS = "the loss of the first "
ARRAYS_MOST = 16
"""Float arrays of one part that have figures of their own; those of the rest are added up."""
SAMPLE_BYTES = 1024
"""One sample's part is smaller than this."""

AnyArray = npt.NDArray[Any]
AsArray = Callable[[Any], tuple[str, AnyArray] | None]
"""(data type, values of any shape) of what is an array, None of anything else."""


class Part(Struct, array_like=True, frozen=True):
    """What a process has under a name, as `sample 17`, `parameter head.weight`, `buffer mean`."""

    name: Annotated[str, Meta(max_length=NAME_MOST)]
    form: Annotated[str, Meta(max_length=16)]
    """Hash of structure, types and shapes."""
    exact: Annotated[str, Meta(max_length=16)]
    """Hash of integers and strings."""
    floats: Annotated[list[float], Meta(max_length=3 * ARRAYS_MOST)] = []
    """Root mean square and two weighted sums (over the root of their number) of each float array."""


def numpy_array(value: Any) -> tuple[str, AnyArray] | None:
    """`AsArray` of what numpy knows."""
    return (str(value.dtype), np.asarray(value)) if isinstance(value, np.ndarray | np.generic) else None


def describe(name: str, value: Any, as_array: AsArray = numpy_array) -> Part:
    """The part of `value`: arrays, numbers, strings, and lists, tuples, mappings, sets and dataclasses of them."""
    found = _Description(as_array)
    found.take(value, 0)
    return Part(_short(name), _hex(found.form), _hex(found.exact), found.floats)


def _short(name: str) -> str:
    most = 160
    return name if len(name) <= most else f"{name[: most // 2]}...{name[3 - most // 2 :]}"


def _hex(found: hashlib._Hash) -> str:
    return found.hexdigest()[:16]


class _Description:
    def __init__(self, as_array: AsArray) -> None:
        self._as_array = as_array
        self.form, self.exact = hashlib.sha256(), hashlib.sha256()
        self.floats: list[float] = []
        self._left = LEAVES_MOST

    def take(self, value: Any, depth: int) -> None:
        """NB: what is no plain value is known by its type alone: its text may hold an address."""
        self._left -= 1
        if self._left < 0 or depth > DEPTH_MOST:
            return
        if (array := self._as_array(value)) is not None:
            self._array(*array)
        elif isinstance(value, str | bytes):
            self._form("text")
            self._exact(value if isinstance(value, bytes) else value.encode("utf-8", "surrogatepass"))
        elif value is None or isinstance(value, int):
            self._form(type(value).__name__)
            self._exact(b"%x" % value if value is not None else b"")
        elif isinstance(value, float | complex):
            self._array(type(value).__name__, np.array(value))
        else:
            self._container(value, depth)

    def _container(self, value: Any, depth: int) -> None:
        self._form(type(value).__name__)
        if isinstance(value, Mapping):
            self._form(str(len(value)))
            for key in sorted(value, key=repr):
                self.take(key, depth + 1)
                self.take(value[key], depth + 1)
        elif isinstance(value, list | tuple):
            self._list(value, depth)
        elif isinstance(value, AnySet):
            self._form(str(len(value)))
            for each in sorted(describe("", each, self._as_array).exact for each in value):
                self._exact(each.encode())
        elif dataclasses.is_dataclass(value):
            for field in dataclasses.fields(value):
                self.take(getattr(value, field.name, None), depth + 1)

    def _list(self, values: Sequence[Any], depth: int) -> None:
        if values and all(type(value) is float for value in values):
            self._array("float", np.array(values))
            return
        self._form(str(len(values)))
        for value in values:
            self.take(value, depth + 1)

    def _array(self, kind: str, array: AnyArray) -> None:
        self._form(f"{kind} {list(array.shape)}")
        if array.dtype.kind in "fc":
            self._figures(array)
        elif array.dtype.kind == "O":
            for value in array.ravel()[:LEAVES_MOST]:
                self.take(value, DEPTH_MOST)
        else:
            self._exact(np.ascontiguousarray(_spread(array, INTEGERS_MOST)).tobytes())

    def _figures(self, array: AnyArray) -> None:
        values = _spread(array, FLOATS_MOST)
        if values.dtype.kind == "c":
            values = np.stack([values.real, values.imag]).ravel()
        values = np.asarray(values, np.float64)
        finite = np.isfinite(values)
        if not finite.all():
            self._exact(bytes([1]) * int(np.isnan(values).sum()) + bytes([2]) * int(np.isinf(values).sum()))
            values = np.where(finite, values, 0.0)
        figures = _three(values)
        if len(self.floats) < 3 * ARRAYS_MOST:
            self.floats += figures
        else:
            self.floats[-3:] = _added(self.floats[-3:], figures)

    def _form(self, text: str) -> None:
        self.form.update(text.encode("utf-8", "surrogatepass") + b"\0")

    def _exact(self, data: bytes) -> None:
        self.exact.update(b"%x:" % len(data) + data)


def _spread(array: AnyArray, most: int) -> AnyArray:
    flat = array.ravel()
    return flat[:: -(-flat.size // most)] if flat.size > most else flat


def _three(values: npt.NDArray[np.float64]) -> list[float]:
    largest = float(np.abs(values).max(initial=0.0))
    if not largest:
        return [0.0, 0.0, 0.0]
    scaled, rows = values / largest, factors(values.size)
    root = float(np.sqrt(values.size))
    found = [float(np.sqrt(np.mean(scaled * scaled))), *(float(row @ scaled) / root for row in rows)]
    return [min(max(figure * largest, -1e300), 1e300) for figure in found]


@functools.lru_cache(maxsize=8)
def factors(count: int) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Two rows of factors of variance 1 that look like chance, and are the same everywhere.

    NB: not of +1 and -1 alone: every fourth pair of elements could change places unseen.
    """
    rows = []
    for salt in (0x9E3779B9, 0x7F4A7C15):
        mixed = np.arange(count, dtype=np.uint32) + np.uint32(salt)
        for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
            mixed = (mixed ^ (mixed >> np.uint32(shift))) * np.uint32(factor)
        rows.append((mixed.astype(np.float64) / (1 << 31) - 1.0) * 3**0.5)
    return rows[0], rows[1]


def _added(one: Sequence[float], other: Sequence[float]) -> list[float]:
    return [float(np.hypot(one[0], other[0])), one[1] + other[1], one[2] + other[2]]


# -- how two differ --------------------------------------------------------------------------------


def unlike(one: Part, other: Part) -> str:
    """In what two parts of one name differ; empty if they do not."""
    if one.form != other.form or len(one.floats) != len(other.floats):
        return "in structure, type or shape"
    if one.exact != other.exact:
        return "in integers or strings"
    for start in range(0, len(one.floats), 3):
        a, b = one.floats[start : start + 3], other.floats[start : start + 3]
        if apart(a, b, TOLERANCE):
            return "in floating-point values"
    return ""


def apart(one: Sequence[float], other: Sequence[float], tolerance: float) -> bool:
    """Whether a float array's three figures are those of another array; `tolerance`: of their root mean square."""
    allowed = tolerance * max(one[0], other[0]) + NOISE
    return any(abs(x - y) > allowed for x, y in zip(one, other, strict=True))


def difference(ours: Sequence[Part], theirs: Sequence[Part]) -> tuple[str, str] | None:
    """The first name under which they differ, and in what; None if they agree.

    Samples that only one side had time to read, or whose data are random by themselves, are not compared.
    """
    known = {part.name: part for part in ours}
    for part in theirs:
        if part.name not in known:
            if not is_sample(part):
                return part.name, "which is not frozen, or not there, in the other model"
        elif how := unlike(known.pop(part.name), part):
            return part.name, how
    left = [name for name, part in known.items() if not is_sample(part)]
    return (left[0], "which is not frozen, or not there, in this model") if left else None


def is_sample(part: Part) -> bool:
    """Whether it is about the data."""
    return part.name.startswith("sample ")


def is_loss(part: Part) -> bool:
    """Whether it is about the loss (`first_loss.py`)."""
    return part.name.startswith(LOSS)


def layout_difference(ours: bytes, theirs: bytes) -> str:
    """How a model of `theirs` differs from the job's, `ours`, both JSON as in `Hello.tensors`; '' if they do not."""
    known, told = dict(named_tensors(ours)), dict(named_tensors(theirs))
    for name, shape in told.items():
        if name not in known:
            return f"parameter {name} of shape {shape} is not in this job's model"
        if known[name] != shape:
            return f"parameter {name} has shape {shape}, and {known[name]} in this job's model"
    if lacks := [name for name in known if name not in told]:
        return f"parameter {lacks[0]}, of shape {known[lacks[0]]} in this job's model, is missing"
    for one, other in zip(known, told, strict=True):
        if one != other:
            return f"parameter {other} stands where this job's model has {one}: the order differs"
    return ""


# -- on the wire -----------------------------------------------------------------------------------


def pack(parts: Sequence[Part], later: int = 0) -> bytes:
    """`parts` in at most DIGEST_MOST bytes: neighbouring tensors are taken together until there are few enough.

    There is room for so many samples that `with_samples` adds `later`.
    """
    samples = [part for part in parts if is_sample(part) or is_loss(part)]
    tensors = [part for part in parts if not (is_sample(part) or is_loss(part))]
    found, run = [*samples, *tensors], 1
    count, size = DIGEST_PARTS_MOST - later, DIGEST_MOST - later * SAMPLE_BYTES
    while len(found) > count or len(msgspec.msgpack.encode(found)) > size:
        run *= 2
        groups = [tensors[start : start + run] for start in range(0, len(tensors), run)]
        found = [*samples, *map(_together, groups)]
    return msgspec.msgpack.encode(found) if found else b""


def with_samples(digest: bytes, samples: Sequence[Part]) -> bytes:
    """`digest`, which `pack` has made, with what is known of the data only now."""
    return msgspec.msgpack.encode([*samples, *unpack(digest)]) if samples else digest


def _together(parts: Sequence[Part]) -> Part:
    if len(parts) == 1:
        return parts[0]
    form, exact = hashlib.sha256(), hashlib.sha256()
    figures = [0.0, 0.0, 0.0]
    for part in parts:
        form.update(f"{part.name} {part.form} {len(part.floats)}".encode("utf-8", "surrogatepass"))
        exact.update(part.exact.encode())
        for start in range(0, len(part.floats), 3):
            figures = _added(figures, part.floats[start : start + 3])
    name = f"{parts[0].name[:120]} to {parts[-1].name[-120:]}"
    return Part(name, _hex(form), _hex(exact), figures)


@functools.lru_cache(maxsize=4)
def unpack(data: bytes) -> tuple[Part, ...]:
    """What `pack` has made. Raises ProtocolError on anything else.

    NB: while a server waits for weights each worker says the same hello many times a second.
    """
    try:
        return msgspec.msgpack.decode(data, type=tuple[Part, ...]) if data else ()
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"no description of data and model: {error}") from error


def readable(data: bytes) -> bool:
    """Whether `unpack` can read it."""
    try:
        unpack(data)
    except ProtocolError:
        return False
    return True
