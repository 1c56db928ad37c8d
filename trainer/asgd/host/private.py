"""A folder of this process's own that sockets can stand in: a socket's path may have 107 bytes, `TMPDIR` may be longer.

Batch systems have temporary folders of over a hundred characters, so others are tried after it.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from asgd.errors import UserError

_SOCKET_MOST = 107
_ROOM = len("/asgd-12345678/server-999.bulk")
"""What stands behind the folder's own path."""


def private_folder() -> Path:
    """Makes one that nobody else can read. Raises UserError when there is no place for it."""
    tried = []
    for base in _places():
        if base in tried:
            continue
        tried.append(base)
        if _fits(base):
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix="asgd-", dir=base))
    raise UserError(
        f"TMPDIR: a folder for sockets is needed, which can be written and whose path has at most"
        f" {_SOCKET_MOST - _ROOM} bytes of UTF-8; none of {', '.join(map(repr, tried))} is one"
    )


def _places() -> Iterator[str]:
    with suppress(OSError):  # no usable one at all
        yield tempfile.gettempdir()
    if runtime := os.environ.get("XDG_RUNTIME_DIR"):
        yield runtime
    yield from ("/tmp", "/var/tmp", "/dev/shm")


def _fits(base: str) -> bool:
    try:
        return len(base.encode()) + _ROOM <= _SOCKET_MOST
    except UnicodeEncodeError:  # ZeroMQ's addresses are UTF-8
        return False
