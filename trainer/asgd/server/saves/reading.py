"""Reads a save back, by any number of shards: each takes the ranges it needs, and proves them by their checksums.

The manifest proves itself and the header of each part's file, and the header proves the blocks. What an earlier version
wrote has no checksums and is read as it is.
"""

from __future__ import annotations

import errno
import json
import posixpath
import zlib
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np

from asgd.errors import Damaged, UserError
from asgd.host.files import check_seal
from asgd.kernel import F32
from asgd.server.manifest import Manifest
from asgd.server.saves import blocks
from asgd.wire.partition import Range, by_name
from asgd.wire.reports import Part

_FAILURE = (OSError, ValueError, KeyError, TypeError, RecursionError)
"""What reading a torn or foreign file may raise."""
_GONE = (FileNotFoundError, IsADirectoryError)
_STATE = "__metadata__"
_MOST = 1 << 28
"""Bytes of a header."""


@dataclass(frozen=True, slots=True)
class _Header:
    """Of a part's file: safetensors' entries, where the data begin, and the checksums if it has any."""

    entries: dict[str, Any]
    base: int
    sums: tuple[int, blocks.Sums] | None

    @property
    def arrays(self) -> dict[str, int]:
        """{array: where its bytes begin}"""
        return {
            name: self.base + int(entry["data_offsets"][0])
            for name, entry in self.entries.items()
            if name != _STATE
        }

    @property
    def state(self) -> dict[str, Any]:
        """The shard's own state."""
        state: dict[str, Any] = json.loads(self.entries[_STATE]["asgd"])
        return state


def read_manifest(fs: Any, folder: str, name: str = "manifest.json") -> Manifest:
    """The manifest in a save's folder. Raises Damaged when there is none or it is damaged, UserError if unreadable."""
    try:
        data = fs.cat_file(posixpath.join(folder, name))
        check_seal(data)
        return msgspec.json.decode(data, type=Manifest)
    except (*_FAILURE, msgspec.MsgspecError) as error:
        raise _failure(error)(
            f"spec.checkpoint.restore: {folder} holds no complete checkpoint ({error})"
        ) from error


def read_range(
    fs: Any, folder: str, manifest: Manifest, wanted: Range
) -> tuple[dict[str, F32], dict[str, Any]]:
    """The arrays of elements `wanted` and a shard's state; the state of a shard with other borders is left out.

    Reads only the bytes it needs. Raises Damaged when a file is missing or damaged, UserError if it can't be read.
    """
    arrays: dict[str, F32] = {}
    meta: dict[str, Any] = {"version": manifest.updates, "samples": manifest.samples}
    found: Counter[str] = Counter(weights=0)
    for part in manifest.parts:
        begin, end = max(part.start, wanted.start), min(part.stop, wanted.stop)
        same = (part.start, part.stop) == (wanted.start, wanted.stop)
        if begin >= end and not same and wanted.size:
            continue
        try:
            with fs.open(posixpath.join(folder, part.file), "rb") as file:
                header = _read_header(file, part)
                for name in header.arrays:
                    target = arrays.setdefault(name, np.zeros(wanted.size, np.float32))
                    into = target[begin - wanted.start : end - wanted.start]
                    _read_array(file, header, name, part, begin - part.start, into)
                    found[name] += max(0, end - begin)
                if same:
                    meta = header.state
                else:
                    # NB: of the whole job, and what the arrays are.
                    told = {name: header.state.get(name) for name in ("rule", "models")}
                    meta |= {name: value for name, value in told.items() if value}
        except _FAILURE as error:
            raise _unreadable(folder, part, error) from error
    for name, count in found.items():
        if count != wanted.size:
            text = f"{folder} has {count} of the {wanted.size} {name} that this shard needs"
            raise Damaged(f"spec.checkpoint.restore: {text}")
    return arrays, meta


def prove(fs: Any, folder: str, manifest: Manifest, parts: list[Part] | None = None) -> None:
    """Reads all of `parts` (default: the whole save) and compares checksums. Raises as `read_range`."""
    if parts is None and sum(part.stop - part.start for part in manifest.parts) != manifest.size:
        raise Damaged(
            f"spec.checkpoint.restore: {folder} has not all of the model's {manifest.size} parameters"
        )
    for part in manifest.parts if parts is None else parts:
        path = posixpath.join(folder, part.file)
        try:
            with fs.open(path, "rb") as file:
                header = _read_header(file, part)
                size = part.stop - part.start
                for name in header.arrays:
                    for begin, length in _pieces(size):
                        _read_array(file, header, name, part, begin, np.empty(length, np.float32))
            if part.bytes and fs.size(path) != part.bytes:
                raise ValueError(f"it has {fs.size(path)} bytes, not {part.bytes}")
        except _FAILURE as error:
            raise _unreadable(folder, part, error) from error


def _pieces(size: int) -> Iterator[tuple[int, int]]:
    """(begin, length) of pieces that are as long as a block of this version, so that little memory is needed."""
    for begin in range(0, size, blocks.ELEMENTS):
        yield begin, min(blocks.ELEMENTS, size - begin)


def array_names(fs: Any, folder: str, manifest: Manifest) -> set[str]:
    """What a save holds of each shard: weights and the optimizer's state. Raises as `read_range`."""
    return set(_first_header(fs, folder, manifest).arrays)


def read_state(fs: Any, folder: str, manifest: Manifest) -> dict[str, Any]:
    """The job's own state, which shard 0 wrote. Raises as `read_range`."""
    try:
        state: dict[str, Any] = _first_header(fs, folder, manifest).state["job"]
    except (ValueError, KeyError, TypeError) as error:
        raise _unreadable(folder, manifest.parts[0], error) from error
    return state


def _first_header(fs: Any, folder: str, manifest: Manifest) -> _Header:
    part = manifest.parts[0]
    try:
        with fs.open(posixpath.join(folder, part.file), "rb") as file:
            return _read_header(file, part)
    except _FAILURE as error:
        raise _unreadable(folder, part, error) from error


def _unreadable(folder: str, part: Part, error: Exception) -> UserError:
    return _failure(error)(f"spec.checkpoint.restore: {folder}/{part.file} cannot be read: {error}")


def _failure(error: Exception) -> type[UserError]:
    """A file that is gone or wrong is damage; a store that refuses to read it says nothing about the file."""
    elsewhere = isinstance(error, OSError) and not isinstance(error, _GONE) and error.errno != errno.EIO
    return UserError if elsewhere else Damaged


def _read_header(file: Any, part: Part) -> _Header:
    first = file.read(8)
    length = int.from_bytes(first, "little")
    if len(first) < 8 or not 0 < length < _MOST:
        raise ValueError("not a safetensors file")
    text = file.read(length)
    if part.header_crc32 is not None and zlib.crc32(text, zlib.crc32(first)) != part.header_crc32:
        raise ValueError("the checksum of its header does not match")
    entries = json.loads(text)
    if not isinstance(entries, dict):
        raise ValueError("not a safetensors file")
    about = entries.get(_STATE) or {}
    return _Header(entries, 8 + length, blocks.unpack(about.get(blocks.KEY)))


def _read_array(file: Any, header: _Header, name: str, part: Part, begin: int, into: F32) -> None:
    """Fills `into` with elements of `name` from `begin` on, counted in the part, and proves the blocks they lie in."""
    if not into.size:
        return
    at, end, size = header.arrays[name], begin + into.size, part.stop - part.start
    if header.sums is None:
        file.seek(at + 4 * begin)
        _read_into(file, into)
        return
    elements, sums = header.sums
    for number in range(begin // elements, -(-end // elements)):
        low, high = number * elements, min(size, (number + 1) * elements)
        inside = begin <= low and high <= end
        block = into[low - begin : high - begin] if inside else np.empty(high - low, np.float32)
        file.seek(at + 4 * low)
        _read_into(file, block)
        if blocks.block_sum(block) != sums[name][number]:
            raise ValueError(f"the checksum of {name}[{low}:{high}] does not match")
        if not inside:
            first, last = max(low, begin), min(high, end)
            into[first - begin : last - begin] = block[first - low : last - low]


def _read_into(file: Any, target: F32) -> None:
    if not target.size:
        return
    view = target.view(np.uint8).data
    done = 0
    while done < len(view):
        count = file.readinto(view[done:]) if hasattr(file, "readinto") else 0
        if not count:
            raise ValueError(f"the file ends {len(view) - done} bytes early")
        done += count


def assemble(fs: Any, folder: str, manifest: Manifest, name: str = "weights") -> dict[str, F32]:
    """The whole model of a save, or what else stands for each parameter, {parameter name: array of its shape}."""
    arrays, _ = read_range(fs, folder, manifest, Range(0, manifest.size))
    return by_name(arrays[name], manifest.tensors)
