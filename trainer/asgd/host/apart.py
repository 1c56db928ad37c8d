"""A computation in a copy of this process, whose own state it leaves as it was."""

from __future__ import annotations

import os
import select
import signal
import sys
import time
from collections.abc import Callable
from typing import NoReturn


def apart(compute: Callable[[], bytes], seconds: float) -> bytes:
    """What `compute` returns in a forked copy of this process; b"" if it raises, ends or takes longer than `seconds`.

    What the copy prints goes nowhere. To be called where no other thread may hold a lock that `compute` needs.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    copy = os.fork()
    if copy == 0:
        _compute(compute, writing)
    os.close(writing)
    try:
        return _read(reading, time.monotonic() + seconds)
    finally:
        os.close(reading)
        os.kill(copy, signal.SIGKILL)
        os.waitpid(copy, 0)


def _compute(compute: Callable[[], bytes], writing: int) -> NoReturn:
    try:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        for stream in (1, 2):
            os.dup2(nowhere, stream)
        answer = memoryview(compute())
        while answer:
            answer = answer[os.write(writing, answer) :]
    finally:
        # NB: whatever `compute` raised, the copy is no second worker.
        os._exit(0)


def _read(reading: int, end: float) -> bytes:
    found = bytearray()
    while (left := end - time.monotonic()) > 0:
        if not select.select([reading], [], [], left)[0]:
            break
        if not (more := os.read(reading, 1 << 16)):
            return bytes(found)
        found += more
    return b""
