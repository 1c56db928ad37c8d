"""The log's records and how they stand in a file: a length, then a msgpack array of one of these structs.

A record is written with one system call before anything that follows from it leaves the process, so a killed
process has noted all that others have seen of it. What a dying machine cuts off at the end is left out when the log
is read.
"""

from __future__ import annotations

import os
import zlib
from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from asgd.errors import UserError
from asgd.wire.messages import Role

_NAME = b"asgd-recording "
MAGIC = _NAME + b"2\n"
_LONG = 255
_SAMPLE = 1024
"""Bytes that `checksum` looks at in three places of a long payload."""


class Record(Struct, frozen=True, tag_field="t", array_like=True):
    """Base of all records."""


class Head(Record, tag=0, frozen=True):
    """The first of each log: `number` is a shard's term or a worker's incarnation."""

    role: str
    index: int
    number: int


# -- a shard's


class Pushed(Record, tag=1, frozen=True):
    """One chunk of a push was taken in, whatever its verdict."""

    worker: int
    sequence: int
    chunk: int
    checksum: int


class Told(Record, tag=2, frozen=True):
    """One chunk of weights was copied into an answer.

    `held`: the state that the request named (`wire/delta.py`); `part` of `parts`: what of the shard it was about.
    """

    worker: int
    chunk: int
    held: int = 0
    part: int = 0
    parts: int = 1


class Joined(Record, tag=3, frozen=True):
    """A hello that changed the shard."""

    role: Role
    index: int
    incarnation: int
    size: int
    layout: str
    dataset: int | None
    sequence: int
    node: str = ""
    tensors: bytes = b""
    rule: bytes = b""


class Brought(Record, tag=4, frozen=True):
    """One chunk of initial weights was taken in."""

    worker: int
    chunk: int
    checksum: int


class Left(Record, tag=5, frozen=True):
    """A worker was taken off the members."""

    worker: int


class Rested(Record, tag=6, frozen=True):
    """A worker's clock was stopped for want of data."""

    worker: int


class Closed(Record, tag=7, frozen=True):
    """Shard 0's order for a round was carried out; `facts` are those of the strategy just before."""

    number: int
    term: int
    members: list[int]
    measure: bool
    decision: dict[str, Any]
    facts: dict[str, Any]


class Saved(Record, tag=8, frozen=True):
    """The state of this moment went into a save."""

    save: int


class Restored(Record, tag=9, frozen=True):
    """This start of the shard took over a save, in a job that has gone back `rollbacks` times."""

    save: int
    rollbacks: int = 0


class Ended(Record, tag=10, frozen=True):
    """The process ended in order: nothing is missing."""


# -- a worker's


class Leased(Record, tag=11, frozen=True):
    """Shard 0's answer to a request for data."""

    epoch: int = 0
    start: int = 0
    stop: int = 0
    wait: bool = False
    over: bool = False


class Dropped(Record, tag=12, frozen=True):
    """Batch number `call`, from 1, was no longer this worker's and was left out."""

    call: int


class Leaving(Record, tag=13, frozen=True):
    """When asked for the `call`-th time, this worker had been told to leave."""

    call: int


class Bringing(Record, tag=14, frozen=True):
    """A shard asked for this worker's weights."""

    shard: int


class Welcomed(Record, tag=15, frozen=True):
    """All shards have welcomed this worker, or the job is over (`stop`)."""

    stop: str


class Heard(Record, tag=16, frozen=True):
    """An exchange is through. By shard: why the job is over, as far as it has said, and each answer that was taken, in
    order, as three numbers: term, chunk, stamp."""

    shards: list[tuple[str, list[int]]]


AnyRecord = (
    Head
    | Pushed
    | Told
    | Joined
    | Brought
    | Left
    | Rested
    | Closed
    | Saved
    | Restored
    | Ended
    | Leased
    | Dropped
    | Leaving
    | Bringing
    | Welcomed
    | Heard
)

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyRecord] = msgspec.msgpack.Decoder(AnyRecord)


def pack(record: Record) -> bytes:
    """A record as it stands in the file."""
    body = _encoder.encode(record)
    size = len(body)
    return (bytes([size]) if size < _LONG else bytes([_LONG]) + size.to_bytes(4, "little")) + body


def unpack(data: bytes) -> list[AnyRecord]:
    """All whole records of a log; one that was cut off at the end is left out. Raises ValueError on anything else."""
    if not data.startswith(MAGIC):
        raise ValueError("its first line is not a recording's")
    records: list[AnyRecord] = []
    view, at = memoryview(data), len(MAGIC)
    while at < len(data):
        size, start = data[at], at + 1
        if size == _LONG:
            size, start = int.from_bytes(data[start : start + 4], "little"), start + 4
        if start + size > len(data):
            break
        try:
            records.append(_decoder.decode(view[start : start + size]))
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise ValueError(f"byte {at} begins no record ({error})") from error
        at = start + size
    return records


def read_log(path: Path) -> list[AnyRecord]:
    """The records of a file, its head first. Raises UserError."""
    try:
        data = path.read_bytes()
        if data.startswith(_NAME) and not data.startswith(MAGIC):
            raise UserError(f"{path} was recorded by another version of asgd, which must replay it")
        records = unpack(data)
        if not records or not isinstance(records[0], Head):
            raise ValueError("its head is missing")
    except OSError as error:
        raise UserError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise UserError(f"{path} is damaged: {error}") from error
    return records


def checksum(payload: Any) -> int:
    """A CRC of a payload, of three parts of a long one: enough to name the first push that differs, at no cost."""
    if payload is None:
        return 0
    data = memoryview(payload).cast("B")
    if data.nbytes <= 3 * _SAMPLE:
        return zlib.crc32(data)
    middle = data.nbytes // 2
    found = zlib.crc32(data[:_SAMPLE])
    found = zlib.crc32(data[middle : middle + _SAMPLE], found)
    return zlib.crc32(data[-_SAMPLE:], found)


class Log:
    """A log that is being written. A disk that fails ends the recording, never the run: the log then has no `Ended`."""

    def __init__(self, path: Path, head: Head) -> None:
        self._file: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o644)
        except OSError:
            return
        self._write(MAGIC + pack(head))

    def add(self, record: Record) -> None:
        """Writes a record at once."""
        self._write(pack(record))

    def _write(self, data: bytes) -> None:
        if self._file is None:
            return
        try:
            whole = os.write(self._file, data) == len(data)
        except OSError:
            whole = False
        if not whole:
            self.close()

    def close(self) -> None:
        """No record follows."""
        if self._file is not None:
            os.close(self._file)
            self._file = None
