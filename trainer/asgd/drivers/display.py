"""What a person sees while a job trains: a live view on a terminal, a plain line now and then anywhere else.

The driver feeds it statuses and notes and need not know which it is. A closed pipe or a vanished terminal
ends the display, never the training. rich is imported for the live view alone, so a job in a pipe starts
light; the layout of that view is in `report.frame`, the spelling of numbers in `report.units`.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self, TextIO

from asgd.report import units
from asgd.report.troubles import troubles
from asgd.spec.status import Status

_PLAIN_SECONDS = 2.0


class View(Protocol):
    """What shows it. Raises OSError when that is gone."""

    def update(self, status: Status) -> None: ...
    def note(self, text: str) -> None: ...
    def waiting(self, text: str) -> None: ...
    def close(self) -> None: ...


class Display:
    """Shows a run on `stream` (stdout): live on a terminal that can, plain lines otherwise.

    quiet: only notes that matter and the last line. clock: seconds, for the pace of plain lines. view: another one
    than these two, as in a notebook.
    """

    def __init__(
        self,
        stream: TextIO | None = None,
        *,
        quiet: bool = False,
        clock: Callable[[], float] = time.monotonic,
        view: View | None = None,
    ) -> None:
        self._stream = sys.stdout if stream is None else stream
        self._quiet = quiet
        self._gone = False
        self._closed = False
        self._noted = 0
        self._optimizer = ""
        self._warned: set[str] = set()
        self._view: View = view or _Plain(self._stream, quiet, clock)
        if view is None and not quiet and _can_live(self._stream):
            from asgd.report.frame import LiveView

            self._view = LiveView(self._stream)

    def update(self, status: Status) -> None:
        """Shows `status`; cheap enough to be called a few times a second. What was given up is noted, once."""
        for notice in status.notices:
            if notice.number > self._noted:
                self._noted = notice.number
                if notice.text not in self._warned:
                    self.note(notice.text)
        if status.optimizer != self._optimizer:
            self._optimizer = status.optimizer
            self.note(f"optimizer  {status.optimizer}", matters=False)
        self._attempt(lambda: self._view.update(status))

    def warn(self, text: str) -> None:
        """Notes a warning; a notice of the servers that says the same is not noted again."""
        self._warned.add(text)
        self.note(f"warning: {text}")

    def note(self, text: str, *, matters: bool = True) -> None:
        """A line that stays, above the live area. Notes that do not matter are left out when quiet."""
        if matters or not self._quiet:
            self._attempt(lambda: self._view.note(text))

    def waiting(self, text: str) -> None:
        """What a start waits for, as "importing train.py: 12 s"; to be said again while it lasts."""
        if not self._quiet:
            self._attempt(lambda: self._view.waiting(text))

    def close(self) -> None:
        """Leaves the last state on the screen and gives the terminal back. Twice is no harm."""
        if not self._closed:
            self._closed = True
            self._attempt(self._view.close)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _attempt(self, show: Callable[[], None]) -> None:
        if self._gone:
            return
        try:
            show()
        except OSError:
            self._gone = True
            _silence(self._stream)
            # The live view holds sys.stdout and the cursor; what it still writes goes to nothing.
            with suppress(OSError):
                self._view.close()
        except ValueError:
            # What Python raises for a stream closed on this side; any other ValueError is a fault of ours.
            if not self._stream.closed:
                raise
            self._gone = True


MakeDisplay = Callable[[Path], Display]
"""From the run's folder, as soon as that is chosen."""


def _can_live(stream: TextIO) -> bool:
    utf8 = (stream.encoding or "").lower().replace("-", "") == "utf8"
    return utf8 and os.environ.get("TERM", "") not in ("", "dumb", "unknown") and stream.isatty()


def _silence(stream: TextIO) -> None:
    """Points the broken stream at nothing: else the interpreter complains when it flushes it at exit."""
    try:
        target = stream.fileno()
    except (OSError, ValueError):
        return
    sink = os.open(os.devnull, os.O_WRONLY)
    os.dup2(sink, target)
    os.close(sink)


class _Plain:
    """At most a line every two seconds, and only when something changed."""

    def __init__(self, stream: TextIO, quiet: bool, clock: Callable[[], float]) -> None:
        self._stream, self._quiet, self._clock = stream, quiet, clock
        self._due = clock()
        self._pause = _PLAIN_SECONDS
        """Between two lines about a wait: the longer it lasts, the more rarely it is told."""
        self._shown = ""
        self._last: Status | None = None

    def update(self, status: Status) -> None:
        self._last = status
        now = self._clock()
        if not self._quiet and now >= self._due and self._show(status):
            self._due = now + _PLAIN_SECONDS

    def note(self, text: str) -> None:
        self._write(text)

    def waiting(self, text: str) -> None:
        now = self._clock()
        if now >= self._due:
            self._due, self._pause = now + self._pause, 2 * self._pause
            self._write(text)

    def close(self) -> None:
        if self._last is not None:
            self._show(self._last)

    def _show(self, status: Status) -> bool:
        figures = "  ".join(_figures(status))
        if figures == self._shown:
            return False
        self._shown = figures
        self._write(plain_line(status))
        return True

    def _write(self, text: str) -> None:
        encoding = self._stream.encoding or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
        self._stream.flush()


def plain_line(status: Status) -> str:
    """`12.3s  updates 1,240  samples 39,680 (epoch 27.6/40)  8,412 samples/s  loss 0.084 ...  workers 4`."""
    return "  ".join([_elapsed(status), *_figures(status)])


def _elapsed(status: Status) -> str:
    goal = status.stop_after.seconds
    return units.seconds(status.seconds) + (f"/{units.seconds(goal)}" if goal is not None else "")


def _figures(status: Status) -> Iterator[str]:
    """All but the time, which alone is no change."""
    rule = status.stop_after
    if status.phase != "running":
        yield f"{status.phase} ({status.stop_reason})" if status.stop_reason else status.phase
    yield f"updates {status.updates:,}{_goal(rule.updates)}{_models(status)}"
    yield f"samples {status.samples:,}{_goal(rule.samples)}{_epoch(status)}"
    yield f"{units.rate(status.samples_per_second)} samples/s"
    if status.loss is not None:
        yield f"loss {units.number(status.loss)}"
    for name, value in status.scalars.items():
        yield f"{name} {units.number(value)}"
    for name, value in status.metrics.items():
        yield f"{name} {units.number(value)}"
    yield f"staleness {status.staleness.mean:.1f} (p99 {status.staleness.p99})"
    yield f"workers {_workers(status)}"
    yield from (f"{what} {text}" for what, text in troubles(status))
    if status.waiting_for:
        yield f"waiting: {status.waiting_for}"


def _goal(goal: int | None) -> str:
    return "" if goal is None else f"/{goal:,}"


def _models(status: Status) -> str:
    """` (generator 120, critic 600)` where several have steps of their own."""
    counts = {name: value for name, value in status.strategy_figures.items() if name.endswith("Updates")}
    named = ", ".join(f"{name.removesuffix('Updates')} {value:,.0f}" for name, value in counts.items())
    return f" ({named})" if named else ""


def _epoch(status: Status) -> str:
    goal = status.stop_after.epochs
    if goal is None:
        return f" (epoch {status.epochs:.1f})" if status.epochs else ""
    return f" (epoch {status.epochs:.1f}/{goal:g})"


def _workers(status: Status) -> str:
    newest = {worker.index: worker.state for worker in status.workers}
    states = list(newest.values())
    alive = states.count("running") + states.count("stalled")
    behind = [f"{states.count(state)} {state}" for state in ("stalled", "hung", "lost") if state in states]
    return f"{alive}" + (f" ({', '.join(behind)})" if behind else "")
