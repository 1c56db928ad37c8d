"""A process of a job whose log is on a full disk goes on: what it prints is lost, the user's prints included."""

from __future__ import annotations

import io
import sys
from contextlib import suppress
from typing import Any


class _Lossy(io.FileIO):
    """A descriptor that takes everything, and keeps what there is room for."""

    def write(self, data: Any) -> int:
        with suppress(OSError):
            return super().write(data)
        return memoryview(data).nbytes


def print_without_failing() -> None:
    """Makes `sys.stdout` and `sys.stderr` lossy, where they are this process's own."""
    for name, descriptor in (("stdout", 1), ("stderr", 2)):
        stream = getattr(sys, name)
        with suppress(OSError, ValueError, AttributeError):
            if stream.fileno() == descriptor:
                buffered = io.BufferedWriter(_Lossy(descriptor, "wb", closefd=False))
                text = io.TextIOWrapper(buffered, stream.encoding, "backslashreplace", write_through=True)
                stream.flush()
                setattr(sys, name, text)
