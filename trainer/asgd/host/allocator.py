"""Keeps freed memory in the process.

Frames of a push are freed and taken anew every time, and pages that the kernel has taken back in between cost several
times what is done with them.
"""

from __future__ import annotations

import ctypes
import sys

_TRIM_THRESHOLD, _MMAP_THRESHOLD = -1, -3
"""glibc's M_TRIM_THRESHOLD and M_MMAP_THRESHOLD, see mallopt(3)."""
KEPT = 12 << 20
"""Bytes of freed memory that are kept at most."""
MAPPED = 4 << 20
"""What is larger comes from the kernel and goes back to it: model-sized arrays."""


def keep_freed_memory() -> None:
    """Tells the C library so, where it is glibc."""
    if sys.platform != "linux":
        return
    tell = getattr(ctypes.CDLL(None), "mallopt", None)
    if tell:
        tell(_TRIM_THRESHOLD, KEPT)
        tell(_MMAP_THRESHOLD, MAPPED)
