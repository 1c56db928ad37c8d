"""A run in a notebook: one output of the cell, redrawn once a second, with what is worth a line above it.

A notebook keeps what a cell has shown. So there is one display that is replaced, never a line after the other, and it
is no longer than a screen whatever happens.
"""

from __future__ import annotations

import html
import re
import sys
import time
import traceback
from collections import deque
from pathlib import Path
from typing import Any

from asgd.spec.status import Status
from asgd.worker.users_code import is_users

_SECONDS = 1.0
_WIDTH, _HEIGHT = 100, 18
_LINES = 12
"""Notes that stay in sight."""


def in_notebook() -> bool:
    """Whether this process is a notebook's kernel."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    return shell is not None and getattr(shell, "kernel", None) is not None


def in_notebooks(error: BaseException) -> list[str]:
    """The lines of a traceback, without frames of ours: the cell's, and functions of the user's on the way."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if is_users(frame.filename)]
    return [*traceback.format_list(frames[1:]), f"{type(error).__name__}: {error}"]


def by_cells(sentence: str) -> str:
    """`sentence` with places in cells, whose files have numbers for names, as `In[3], line 2`."""
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython else None
    known = getattr(getattr(shell, "compile", None), "_filename_map", {})
    cells = {Path(file).name: number for file, number in known.items()}

    def place(found: re.Match[str]) -> str:
        return f"In[{cells[found[1]]}], line {found[2]}" if found[1] in cells else found[0]

    return re.sub(r"([^\s(]+):(\d+)", place, sentence)


class NotebookView:
    """`drivers.display.View` for a cell's output."""

    def __init__(self) -> None:
        self._notes: deque[str] = deque(maxlen=_LINES)
        self._handle: Any = None
        self._waiting = ""
        self._status: Status | None = None
        self._due = 0.0

    def update(self, status: Status) -> None:
        self._status, self._waiting = status, ""
        self._show()

    def note(self, text: str) -> None:
        self._notes.extend(text.splitlines())
        self._show()

    def waiting(self, text: str) -> None:
        self._waiting = text
        self._show()

    def close(self) -> None:
        self._waiting = ""
        if self._handle is not None or self._notes:
            self._show(now=True)

    def _show(self, *, now: bool = False) -> None:
        if not now and time.monotonic() < self._due:
            return
        self._due = time.monotonic() + _SECONDS
        text = self._text()
        bundle = {"text/plain": text, "text/html": f"<pre>{html.escape(text)}</pre>"}
        if self._handle is None:
            from IPython import display

            show: Any = display.display  # untyped
            self._handle = show(bundle, raw=True, display_id=True)
        else:
            self._handle.update(bundle, raw=True)

    def _text(self) -> str:
        from rich.console import Console

        from asgd.report.frame import frame

        lines = [*self._notes]
        if self._waiting:
            lines.append(self._waiting)
        if self._status is not None:
            console = Console(width=_WIDTH, color_system=None, force_jupyter=False, force_terminal=True)
            with console.capture() as capture:
                console.print(frame(self._status, _WIDTH, _HEIGHT))
            lines.append(capture.get().rstrip())
        return "\n".join(lines)
