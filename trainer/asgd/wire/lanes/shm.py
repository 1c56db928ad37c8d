"""Memory that a worker shares with the servers of its own machine: what it pushes, and what it pulled.

A segment is a file in a memory-backed folder (`/dev/shm`, or ASGD_SHM: a volume that pods on one node share): a page
with a random token, the (N,) vector that the worker pushes, the (N,) vector that servers answer into. The worker makes
it and names it in its Hello; a server that finds the file with that token really sees the same memory, and nothing else
proves it (host names and boot ids lie between containers). A chunk counts only when a message on the worker's own bulk
connection announces it, so a worker killed while it writes has said nothing. The maker holds a lock on the file for as
long as it lives: a file that can be locked is a dead process's, and whoever comes by removes it.
"""

from __future__ import annotations

import fcntl
import mmap
import os
import re
import secrets
import stat
from contextlib import suppress
from pathlib import Path

import numpy as np

from asgd.kernel import F32

TOKEN = 32
_PAGE = 4096
_NAME = re.compile(r"asgd-[0-9a-f]{32}\.segment")


def folder() -> Path:
    """Where segments lie."""
    return Path(os.environ.get("ASGD_SHM") or "/dev/shm")


class Segment:
    """A mapped segment of a model of `size` parameters; `push` and `pull` are (size,) float32 in it."""

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


def make(size: int) -> Segment | None:
    """A new segment; None where there is no such folder, or no room in it."""
    place = folder()
    if not place.is_dir():
        return None
    sweep()
    path = place / f"asgd-{secrets.token_hex(16)}.segment"
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    except OSError:
        return None
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        # NB: memory that is not there when it is written to would kill the process that writes.
        os.posix_fallocate(descriptor, 0, _bytes(size))
        os.pwrite(descriptor, secrets.token_bytes(TOKEN), 0)
        # NB: between its making and its locking a sweep may have taken it.
        return Segment(descriptor, path, size) if path.exists() else None
    except OSError:
        path.unlink(missing_ok=True)
        return None
    finally:
        os.close(descriptor)


def open_segment(name: str, token: bytes, size: int) -> Segment | None:
    """The segment that a peer has named; None unless it is here, whole, our own user's, and holds the token."""
    if not _NAME.fullmatch(name) or len(token) != TOKEN:
        return None
    path = folder() / name
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    try:
        found = os.fstat(descriptor)
        own = stat.S_ISREG(found.st_mode) and found.st_uid == os.geteuid()
        if not own or found.st_size != _bytes(size) or os.pread(descriptor, TOKEN, 0) != token:
            return None
        return Segment(descriptor, path, size)
    except (OSError, ValueError):
        return None
    finally:
        os.close(descriptor)


def sweep() -> None:
    """Removes segments whose makers are dead."""
    with suppress(OSError):
        for path in folder().iterdir():
            if _NAME.fullmatch(path.name):
                _remove_dead(path)


def _remove_dead(path: Path) -> None:
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        path.unlink(missing_ok=True)
    except OSError:
        return
    finally:
        os.close(descriptor)


def _bytes(size: int) -> int:
    return _PAGE + 8 * size
