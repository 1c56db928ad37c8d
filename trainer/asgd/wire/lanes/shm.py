"""Memory that a worker shares with the servers of its own machine: what it pushes, and what it pulled.

A segment is a file in a memory-backed folder (`/dev/shm`, or ASGD_SHM: a volume that pods on one node share): a page
with a random token, the (N,) vector that the worker pushes, the (N,) vector that servers answer into. The worker makes
it and names it in its Hello; a server that finds the file with that token really sees the same memory, and nothing else
proves it (host names and boot ids lie between containers). Over a network file system two machines would see one token
and two memories, so only file systems are used that one kernel alone writes to. A chunk counts only when a message on
the worker's own bulk connection announces it, so a worker killed while it writes has said nothing. The maker holds a
lock on the file for as long as it lives: a file that can be locked is a dead process's; whoever comes by removes it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import secrets
import shutil
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

import numpy as np

from asgd.kernel import F32
from asgd.spec.environment import Env
from asgd.wire.control import inside

LOCAL = frozenset({"tmpfs", "ext2", "ext3", "ext4", "xfs", "btrfs", "zfs", "f2fs", "overlay"})
"""File systems whose mapped files are the same memory for all who map them."""
TOKEN = 32
_PAGE = 4096
_NAME = re.compile(r"asgd-[0-9a-f]{32}\.(segment|weights)")
_FOLDER = re.compile(r"asgd-[0-9a-f]{32}\.kept")


def folder() -> Path:
    """Where segments lie."""
    return Path(os.environ.get(Env.SHM) or "/dev/shm")


def is_local(place: Path) -> bool:
    """Whether the file system of `place` is one of LOCAL."""
    where, kind = place.resolve(), ""
    try:
        mounts = Path("/proc/self/mountinfo").read_text(encoding="utf-8", errors="surrogateescape")
    except OSError:
        return False
    deepest = -1
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        point = Path(re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), before.split(" ")[4]))
        # NB: of two mounts at one point the later one is on top.
        if where.is_relative_to(point) and len(point.parts) >= deepest:
            deepest, kind = len(point.parts), after.split(" ")[0]
    return kind in LOCAL


def worth_trying(servers: Sequence[str]) -> bool:
    """Whether memory is worth setting aside before a server says that it sees it: a folder is named, or all
    `servers` are reached inside this machine or container. Pods share no /dev/shm unless somebody gives them one."""
    return Env.SHM in os.environ or all(map(inside, servers))


class Segment:
    """A mapped segment of a model of `size` parameters; `push` and `pull` are (size,) float32 in it.

    NB: numpy names these two as the `base` of all their slices, by which a lane knows what lies here already.
    """

    def __init__(self, descriptor: int, path: Path, size: int) -> None:
        self.path, self.size = path, size
        # NB: the map keeps the file open, and with it the maker's lock.
        self._map = mmap.mmap(descriptor, _bytes(size))
        self.push: F32 = np.frombuffer(self._map, np.float32, size, _PAGE)
        self.pull: F32 = np.frombuffer(self._map, np.float32, size, _PAGE + 4 * size)

    @property
    def token(self) -> bytes:
        return self._map[:TOKEN]

    def remove(self) -> None:
        """Takes the file away; who has mapped it keeps the memory."""
        self.path.unlink(missing_ok=True)


class Weights:
    """A shard's `size` parameters in a file that workers may map to read them in place; `vector` is (size,) float32."""

    def __init__(self, descriptor: int, path: Path, size: int, *, writable: bool) -> None:
        self.path = path
        access = mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ
        self._map = mmap.mmap(descriptor, max(4, 4 * size), access=access)
        self.vector: F32 = np.frombuffer(self._map, np.float32, size)

    def remove(self) -> None:
        """Takes the file away; who has mapped it keeps the memory."""
        self.path.unlink(missing_ok=True)


def make(size: int) -> Segment | None:
    """A new segment; None where there is no such folder, no room in it, or no proof that it is this machine's own."""
    made = _create("segment", _bytes(size))
    if made is None:
        return None
    descriptor, path = made
    os.pwrite(descriptor, secrets.token_bytes(TOKEN), 0)
    segment = Segment(descriptor, path, size)
    os.close(descriptor)
    return segment


def make_weights(size: int) -> Weights | None:
    """Memory for a shard's parameters, all zero; None where there is no such folder, or no room in it."""
    made = _create("weights", max(4, 4 * size))
    if made is None:
        return None
    weights = Weights(*made, size, writable=True)
    os.close(made[0])
    return weights


def _create(kind: str, total: int) -> tuple[int, Path] | None:
    """A file of `total` bytes that is locked as long as it is open here, and its descriptor."""
    if not is_local(folder()):
        return None
    sweep()
    path = folder() / f"asgd-{secrets.token_hex(16)}.{kind}"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # NB: memory that is not there when it is written to would kill the process that writes.
        os.posix_fallocate(descriptor, 0, total)
        path.stat()  # NB: between its making and its locking a sweep may have taken it.
    except OSError:
        path.unlink(missing_ok=True)
        os.close(descriptor)
        return None
    return descriptor, path


def open_segment(name: str, token: bytes, size: int) -> Segment | None:
    """The segment that a peer has named; None unless it is here, whole, our own user's, and holds the token."""
    descriptor = _open(name, os.O_RDWR, _bytes(size)) if is_local(folder()) else None
    if descriptor is None:
        return None
    try:
        if len(token) != TOKEN or os.pread(descriptor, TOKEN, 0) != token:
            return None
        return Segment(descriptor, folder() / name, size)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def open_weights(name: str, size: int) -> Weights | None:
    """The parameters that a shard has named, to be read only; None unless they are here. The name can't be guessed."""
    descriptor = _open(name, os.O_RDONLY, max(4, 4 * size))
    if descriptor is None:
        return None
    try:
        return Weights(descriptor, folder() / name, size, writable=False)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def _open(name: str, flags: int, total: int) -> int | None:
    """A descriptor of a file of ours in the folder, of `total` bytes."""
    if not _NAME.fullmatch(name):
        return None
    try:
        descriptor = os.open(folder() / name, flags | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    found = os.fstat(descriptor)
    if stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid() and found.st_size == total:
        return descriptor
    os.close(descriptor)
    return None


class Keep:
    """A folder in which servers keep what they hold while its maker lives; `path` is None where there can be none."""

    def __init__(self) -> None:
        self.path: Path | None = None
        sweep()
        path = folder() / f"asgd-{secrets.token_hex(16)}.kept"
        try:
            path.mkdir(0o700)
            self._lock = os.open(path / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            (path / "lock").stat()  # NB: between its making and its locking a sweep may have taken it.
        except OSError:
            return
        self.path = path

    def remove(self) -> None:
        """Takes the folder away."""
        if self.path:
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
            self.path = None


def sweep() -> None:
    """Removes files and folders whose makers are dead."""
    with suppress(OSError):
        for path in folder().iterdir():
            if _NAME.fullmatch(path.name) and _is_dead(path):
                path.unlink(missing_ok=True)
            elif _FOLDER.fullmatch(path.name) and _is_dead(path / "lock"):
                shutil.rmtree(path, ignore_errors=True)


def _is_dead(path: Path) -> bool:
    """Nobody holds the lock on a file of ours."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    finally:
        os.close(descriptor)
    return True


def _bytes(size: int) -> int:
    return _PAGE + 8 * size
