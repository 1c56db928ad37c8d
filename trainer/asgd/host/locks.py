"""One run at a time in a folder: a lock that the system releases when its holder ends, however it ends.

The lock is on a file `.lock` that names its holder. Where the file system knows no locks (some network ones) nobody is
kept out.
"""

from __future__ import annotations

import errno
import fcntl
import os
from contextlib import suppress
from pathlib import Path
from typing import Self

_NAME = ".lock"
_BUSY = (errno.EWOULDBLOCK, errno.EACCES)


class Busy(Exception):
    """Somebody holds the lock; `pid` of who does, or 0 where that is not known."""

    def __init__(self, pid: int) -> None:
        super().__init__(f"held by process {pid}" if pid else "held by another process")
        self.pid = pid


class FolderLock:
    """The lock on a folder, held until `release` or the end of this process; `take` makes one."""

    def __init__(self, path: Path, descriptor: int | None) -> None:
        self._path, self._descriptor = path, descriptor

    @classmethod
    def take(cls, folder: Path) -> Self:
        """Raises Busy when another process holds it, OSError when the folder can't be written."""
        path = folder / _NAME
        while True:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                pid = _holder(descriptor)
                os.close(descriptor)
                if error.errno in _BUSY:
                    raise Busy(pid) from None
                return cls(path, None)
            # NB: its last holder may have removed the file since it was opened here.
            with suppress(FileNotFoundError):
                if os.fstat(descriptor).st_ino == path.stat().st_ino:
                    break
            os.close(descriptor)
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        return cls(path, descriptor)

    def release(self) -> None:
        """Lets others in and leaves no file. Twice is no harm."""
        if self._descriptor is not None:
            with suppress(OSError):
                self._path.unlink()
            os.close(self._descriptor)
            self._descriptor = None


def _holder(descriptor: int) -> int:
    with suppress(OSError, ValueError):
        return int(os.pread(descriptor, 32, 0))
    return 0
