"""What `ps` and `top` call a process that was forked: its part, not the command line of the fork server."""

from __future__ import annotations

import ctypes
import sys
from pathlib import Path

_PR_SET_NAME = 15
_ARG_START, _ARG_END = 47, 48
"""Places of arg_start and arg_end in /proc/self/stat, counted from 0; see proc(5)."""


def set_title(text: str) -> None:
    """Calls this process `text` (ASCII; `ps` shows 15 characters of it, `ps aux` all that have room). Linux only."""
    if not sys.platform.startswith("linux"):
        return
    name = text.encode("ascii", "replace")
    ctypes.CDLL(None).prctl(_PR_SET_NAME, name[:15], 0, 0, 0)
    start, end = _arguments()
    if start and end - start > 1:
        # NB: the last byte stays 0: else the kernel reads on into the environment.
        ctypes.memmove(start, name[: end - start - 1].ljust(end - start, b"\0"), end - start)


def _arguments() -> tuple[int, int]:
    """Where this process's command line lies in memory; (0, 0) when the kernel doesn't say."""
    try:
        text = Path("/proc/self/stat").read_text(encoding="utf-8", errors="replace")
        # NB: the second field is the name in brackets, which may hold spaces.
        fields = ["", "", *text.rpartition(")")[2].split()]
        return int(fields[_ARG_START]), int(fields[_ARG_END])
    except (OSError, ValueError, IndexError):
        return 0, 0
