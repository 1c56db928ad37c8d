"""What a shard holds, kept in a memory-backed folder, so that a server that is killed loses a fraction of a second.

Between two messages the state is copied into one of two files, in turn; a file counts when its seal, written last, is
not zero, so a server killed in the middle of a copy leaves the other one whole. Live weights are never mapped: half an
update may be in them. Copies are taken so seldom that they cost a thirtieth of the time. Each bears checksums; where
they do not match, the other copy is taken. The next server of the shard takes the newest, or a checkpoint if that is
newer, and counts what was lost as after any restart. Files bear the term of their writer: a server that was replaced
can't write into its successor's. Checkpoints outlive the machine; this does not, and is trusted only within one start
of the job (`ASGD_RUN`).
"""

from __future__ import annotations

import json
import mmap
import os
import re
import shutil
import time
import zlib
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from asgd.errors import Fenced
from asgd.host.say import say
from asgd.kernel import F32
from asgd.server.shard import Shard

LEAST_SECONDS = 0.25
SHARE = 30
"""Copies take at most one part in so many of a server's time."""
SPARE = 4
"""A copy is made where there is room for so many: there are two of each shard, and other shards have theirs."""
_PAGE = 4096
_HEAD = 20
"""Bytes of the seal: length, place and CRC-32 of what is told about the arrays."""
_CGROUP = Path("/sys/fs/cgroup")
_NAME = re.compile(r"shard-(\d+)-of-(\d+)-term-(\d+)-[ab]")


@dataclass(frozen=True, slots=True)
class Kept:
    """A whole copy. `arrays` are private to this process; `job` is the coordinator's state on shard 0."""

    run: str
    number: int
    """Below zero, other than a save's number: minus the time in nanoseconds."""
    size: int
    layout: str
    meta: dict[str, Any]
    job: dict[str, Any] | None
    arrays: dict[str, F32]


class Memory:
    """Keeps `shard` in `folder`, for starts of the run named `run`."""

    def __init__(self, folder: Path, shard: Shard, run: str) -> None:
        self._folder, self._shard, self._run = folder, shard, run
        self._stem = f"shard-{shard.index}-of-{shard.shards}"
        self._turn = 0
        self._due = 0.0
        self._mark = (-1, -1, -1)
        self._changes = 0
        self.off = False
        """There was no room."""
        with suppress(OSError):
            (folder / f"{self._stem}-newest-term").write_text(str(shard.term))

    # -- keeping -----------------------------------------------------------------------------------

    def due(self, now: float, changes: int = 0) -> bool:
        """Whether there is something new, and time to keep it; `changes` counts those that come with no push."""
        self._changes = changes
        if self.off or now < self._due or not self._shard.ready:
            return False
        return self._mark != self._state_mark()

    def keep(self, job: dict[str, Any] | None) -> None:
        """Copies the state of this moment. Raises Fenced when a newer server of this shard has started."""
        begin = time.monotonic()
        self._check_term()
        number = -time.time_ns()
        self._mark = self._state_mark()
        self._shard.recorder.saved(number)
        name = f"{self._stem}-term-{self._shard.term}-{'ab'[self._turn]}"
        try:
            self._write(self._folder / name, number, job)
        except OSError as error:
            self.off = True
            say(f"nothing is kept in memory: {self._folder}: {error}; a restart begins from the checkpoint")
            return
        self._turn = 1 - self._turn
        self._forget_others()
        now = time.monotonic()
        self._due = now + max(LEAST_SECONDS, SHARE * (now - begin))

    def _state_mark(self) -> tuple[int, int, int]:
        return self._shard.state.version, self._shard.state.samples, self._changes

    def _check_term(self) -> None:
        with suppress(OSError, ValueError):
            newest = int((self._folder / f"{self._stem}-newest-term").read_text())
            if newest > self._shard.term:
                shard = self._shard
                raise Fenced(f"shard {shard.index} of term {shard.term} was replaced by term {newest}")

    def _write(self, path: Path, number: int, job: dict[str, Any] | None) -> None:
        shard = self._shard
        arrays = shard.arrays()
        self._need_room(path, sum(array.nbytes for array in arrays.values()))
        about = {
            "run": self._run, "number": number, "size": shard.size, "layout": shard.layout, "meta": shard.meta(),
            "job": job, "arrays": {name: [array.size, word_sum(array)] for name, array in arrays.items()},
        }  # fmt: skip
        text = json.dumps(about).encode()
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            # NB: not whole from here until the seal; what is written stays written when the process is killed.
            os.pwrite(descriptor, bytes(_HEAD), 0)
            at = _PAGE
            for array in arrays.values():
                at = _write_all(descriptor, array.view(np.uint8).data, at)
            _write_all(descriptor, memoryview(text), at)
            numbers = (len(text), 8), (at, 8), (zlib.crc32(text), 4)
            os.pwrite(descriptor, b"".join(number.to_bytes(size, "little") for number, size in numbers), 0)
        finally:
            os.close(descriptor)

    def _need_room(self, path: Path, size: int) -> None:
        """Raises OSError rather than to fill up the machine's memory."""
        if not path.exists() and min(shutil.disk_usage(self._folder).free, _available()) < SPARE * size:
            raise OSError(f"there is no room for {SPARE} times {size >> 20} MiB")

    def _forget_others(self) -> None:
        """Copies of earlier terms are of no more use once there is one of this."""
        for path, term in _files(self._folder, self._shard.index, self._shard.shards):
            if term != self._shard.term:
                path.unlink(missing_ok=True)


# -- taking back -----------------------------------------------------------------------------------


def newest(folder: Path, shard: int, shards: int, run: str) -> Kept | None:
    """The copy with the highest version that earlier servers of a shard have kept in `run`."""
    found = [kept for path, _ in _files(folder, shard, shards) if (kept := read(path)) and kept.run == run]
    return max(found, key=lambda kept: (kept.meta["version"], -kept.number), default=None)


def discard(folder: Path, shard: int, shards: int) -> None:
    """Removes the copies of a shard: the job goes back to before them."""
    for path, _ in _files(folder, shard, shards):
        with suppress(OSError):
            path.unlink(missing_ok=True)


def _files(folder: Path, shard: int, shards: int) -> list[tuple[Path, int]]:
    """The copies of a shard, with their writers' terms."""
    with suppress(OSError):
        named = [(path, _NAME.fullmatch(path.name)) for path in folder.iterdir()]
        own = (str(shard), str(shards))
        return [(path, int(name[3])) for path, name in named if name and name.groups()[:2] == own]
    return []


def read(path: Path) -> Kept | None:
    """The copy in `path`; None when it is not whole."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
            length, at = int.from_bytes(head[:8], "little"), int.from_bytes(head[8:16], "little")
            if not length:
                return None
            file.seek(at)
            text = file.read(length)
            if zlib.crc32(text) != int.from_bytes(head[16:], "little"):
                raise ValueError("the checksum of its bookkeeping does not match")
            about = json.loads(text)
            # NB: private, since the shard may go on working in some of these arrays.
            memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY)
        arrays, at = {}, _PAGE
        for name, (size, total) in about["arrays"].items():
            arrays[name] = np.frombuffer(memory, np.float32, size, at)
            at += 4 * size
            if word_sum(arrays[name]) != total:
                raise ValueError(f"the checksum of {name} does not match")
        return Kept(
            about["run"], about["number"], about["size"], about["layout"], about["meta"], about["job"], arrays
        )  # fmt: skip
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        say(f"{path} is of no use: {error}")
        return None


def word_sum(array: F32) -> int:
    """The sum of an array's 64-bit words, modulo 2^64: a checksum that any flipped bit changes.

    It costs a fifth of the copy. A CRC would take longer than the copy itself, and the server waits for this one.
    """
    even = array.size // 2 * 2
    words = int(array[:even].view(np.uint64).sum(dtype=np.uint64))
    return (words + int(array[even:].view(np.uint32).sum())) % (1 << 64)


def _available() -> int:
    """Bytes of memory that can be had: the machine's, or what a container's limit leaves."""
    found = [1 << 62]
    with suppress(OSError, ValueError, IndexError):
        lines = Path("/proc/meminfo").read_text().splitlines()
        found += [int(line.split()[1]) << 10 for line in lines if line.startswith("MemAvailable:")]
    with suppress(OSError, ValueError):
        limit, used = (int((_CGROUP / name).read_text()) for name in ("memory.max", "memory.current"))
        found.append(limit - used)
    return min(found)


def _write_all(descriptor: int, data: memoryview, at: int) -> int:
    """Where the file goes on behind `data`."""
    done = 0
    while done < len(data):
        done += os.pwrite(descriptor, data[done:], at + done)
    return at + done
