"""The live view of a run: one calm frame that fits the terminal, however many workers there are.

`figures` and `fold` decide what is said and which workers get a row (pure); `frame` lays it out with rich;
`LiveView` keeps it on the screen. The frame is drawn when a status comes, by no thread of its own, so it
takes no time from training.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from typing import Literal, TextIO

from msgspec import Struct
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from asgd.report import units
from asgd.report.summary import staleness
from asgd.report.troubles import troubles
from asgd.spec.status import Status, WorkerView

_FRAME_SECONDS = 0.2
_BLOCK_WIDTH = 38
_WIDE = 120
_METRICS = 6
_COLUMNS: tuple[tuple[str, int, Literal["left", "right"]], ...] = (
    ("worker", 6, "right"),
    ("state", 7, "left"),
    ("samples/s", 9, "right"),
    ("share", 6, "right"),
    ("loss", 6, "right"),
)
_STATE_STYLE: dict[str, str] = {
    "running": "green",
    "stalled": "bold yellow",
    "left": "dim",
    "lost": "bold red",
    "hung": "bold red",
}


class LiveView:
    """The newest frame at the bottom of a terminal, notes above it. Raises OSError when that is gone."""

    def __init__(self, stream: TextIO) -> None:
        self._console = _Console(file=stream, highlight=False)
        self._live = Live(console=self._console, auto_refresh=False)
        self._newest: Status | None = None
        self._due = 0.0

    def update(self, status: Status) -> None:
        self._newest = status
        if not self._live.is_started:
            self._live.start()
        if time.monotonic() >= self._due:
            self._draw(status)
            self._due = time.monotonic() + _FRAME_SECONDS

    def waiting(self, text: str) -> None:
        if not self._live.is_started:
            self._live.start()
        self._live.update(_line(text, "dim"), refresh=True)

    def note(self, text: str) -> None:
        self._console.print(Text(text), soft_wrap=True)

    def close(self) -> None:
        if self._newest is not None:
            self._draw(self._newest)
        self._live.stop()

    def _draw(self, status: Status) -> None:
        width, height = self._console.size
        # One line stays free: a frame as high as the terminal would scroll at each note.
        self._live.update(frame(status, width, height - 1), refresh=True)


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """rich would end the process here; the training goes on without a screen."""
        self.quiet = True
        raise


class Fold(Struct, frozen=True):
    """Which workers get a row, and how many rows stand in one column; `hidden` share one line."""

    shown: list[WorkerView]
    hidden: list[WorkerView]
    rows: int


def fold(workers: list[WorkerView], height: int, columns: int) -> Fold:
    """The newest incarnation of each worker within `height` lines, header and line for the rest included.

    Lost workers come first into the rows, then running ones; shown ones stand in the order of their index.
    """
    newest = list({worker.index: worker for worker in sorted(workers, key=lambda w: w.incarnation)}.values())
    newest.sort(key=lambda worker: worker.index)
    if len(newest) <= max(0, height - 1):
        return Fold(newest, [], len(newest))
    if len(newest) <= max(0, height - 1) * columns:
        return Fold(newest, [], -(-len(newest) // columns))
    rows = max(0, height - 2)
    rank = {"hung": 0, "lost": 0, "stalled": 1, "running": 2}
    kept = sorted(newest, key=lambda worker: (rank.get(worker.state, 3), worker.index))[: rows * columns]
    indices = {worker.index for worker in kept}
    return Fold(
        [worker for worker in newest if worker.index in indices],
        [worker for worker in newest if worker.index not in indices],
        rows,
    )


def hidden_line(hidden: list[WorkerView]) -> str:
    """`and 42 more: 40 running (812 to 1,204 samples/s, slowest is 17), 2 left`; one seeks the slowest."""
    running = [worker for worker in hidden if worker.state == "running"]
    parts = []
    if running:
        slowest = min(running, key=lambda worker: worker.samples_per_second)
        most = max(worker.samples_per_second for worker in running)
        least = units.rate(slowest.samples_per_second)
        parts.append(
            f"{len(running)} running ({least} to {units.rate(most)} samples/s, slowest is {slowest.index})"
        )
    for state in ("stalled", "hung", "lost", "left"):
        if count := sum(worker.state == state for worker in hidden):
            parts.append(f"{count} {state}")
    return f"and {len(hidden)} more: {', '.join(parts)}"


def figures(status: Status) -> Iterator[tuple[str, str]]:
    """(name, value) of all there is to say about the job as a whole; troubles only when there are any."""
    yield "updates", f"{status.updates:,}  {units.rate(status.updates_per_second)}/s"
    yield "loss", units.number(status.loss)
    yield "samples", f"{status.samples:,}  {units.rate(status.samples_per_second)}/s"
    if status.epochs:
        goal = status.stop_after.epochs
        yield "epoch", f"{status.epochs:.1f}" + (f" of {goal:g}" if goal is not None else "")
    for name, value in list(status.scalars.items())[:_METRICS]:
        yield name, units.number(value)
    for name, value in list(status.metrics.items())[:_METRICS]:
        yield name, f"{units.number(value)}  at update {status.metrics_at_updates:,}"
    yield "staleness", staleness(status.staleness).replace(",", "")
    yield "traffic", f"{units.size(status.bytes_sent)} out, {units.size(status.bytes_received)} in"
    if status.checkpoint is not None:
        age = units.seconds(status.checkpoint.seconds_ago)
        yield "checkpoint", f"{age} ago, update {status.checkpoint.updates:,}"
    yield from troubles(status)


def frame(status: Status, width: int, height: int) -> RenderableType:
    """The whole view in at most `height` lines of `width` columns (where the figures alone fit into that)."""
    head: list[RenderableType] = [_title(status), _bar(status)]
    if rule := units.stop_rule(status.stop_after):
        head.append(_line(f"until {rule}", "dim"))
    if status.waiting_for:
        head.append(_line(f"waiting: {status.waiting_for}", "yellow"))
    facts = list(figures(status))
    columns = 3 if width >= _WIDE else 2
    head += [Text(), _facts(facts, columns)]
    used = len(head) - 1 + -(-len(facts) // columns)
    room = height - used - 1
    if room >= 2 and status.workers:
        return Group(*head, Text(), _workers(status, width, room))
    running = sum(worker.alive for worker in status.workers)
    return (
        Group(*head, _line(f"{units.plural(running, 'worker')} running", "dim"))
        if room >= 0
        else Group(*head)
    )


def _line(text: str, style: str = "") -> Text:
    return Text(text, style=style, no_wrap=True, overflow="ellipsis")


def _title(status: Status) -> Text:
    phase = f"{status.phase} ({status.stop_reason})" if status.stop_reason else status.phase
    title = _line("")
    title.append(status.job, "bold").append(f" · {status.algorithm} · ")
    title.append(phase, "bold green" if status.phase == "running" else "bold")
    return title.append(f" · {units.seconds(status.seconds)}")


def _bar(status: Status) -> RenderableType:
    if status.progress is None:
        return _line(
            "no forecast: the stop rule is a metric" if status.stop_after.only_evaluated else "", "dim"
        )
    part = min(1.0, max(0.0, status.progress))
    forecast = status.eta_seconds is not None and status.phase == "running"
    grid = Table.grid(padding=(0, 2, 0, 0), expand=True)
    grid.add_column(ratio=1)
    # Fixed widths: the bar's end must not jump when the forecast loses a digit.
    grid.add_column(width=4, no_wrap=True, justify="right")
    grid.add_column(width=13 if forecast else 0, no_wrap=True)
    left = f"ETA {units.seconds(status.eta_seconds or 0.0)}" if forecast else ""
    grid.add_row(ProgressBar(total=1.0, completed=part), f"{part:.0%}", left)
    return grid


def _facts(facts: list[tuple[str, str]], columns: int) -> Table:
    grid = Table.grid(padding=(0, 1), expand=True)
    for _ in range(columns):
        grid.add_column(style="dim", no_wrap=True, overflow="ellipsis", width=10)
        grid.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for start in range(0, len(facts), columns):
        row = [text for fact in facts[start : start + columns] for text in fact]
        grid.add_row(*(Text(text) for text in row))
    return grid


def _workers(status: Status, width: int, height: int) -> RenderableType:
    columns = max(1, (width + 3) // (_BLOCK_WIDTH + 3))
    folded = fold(status.workers, height, columns)
    total = sum(worker.samples for worker in status.workers)
    blocks = Table.grid(padding=(0, 3, 0, 0))
    starts = range(0, len(folded.shown), folded.rows) if folded.rows else range(0)
    blocks.add_row(*(_block(folded.shown[start : start + folded.rows], total) for start in starts))
    if not folded.hidden:
        return blocks
    return Group(blocks, _line(hidden_line(folded.hidden), "dim"))


def _block(workers: list[WorkerView], total: int) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="dim", pad_edge=False)
    for name, width, justify in _COLUMNS:
        table.add_column(name, width=width, justify=justify, no_wrap=True)
    for worker in workers:
        running = worker.alive
        table.add_row(
            str(worker.index),
            Text(worker.state, _STATE_STYLE.get(worker.state, "")),
            units.rate(worker.samples_per_second) if running else "",
            f"{worker.samples / total:.1%}" if total else "-",
            _short(worker.loss),
        )
    return table


def _short(loss: float | None) -> str:
    """At most six characters, or two blocks of workers would not fit 80 columns."""
    if loss is None:
        return "-"
    return f"{loss:.3g}" if not math.isfinite(loss) or 1e-3 <= abs(loss) < 1000 else f"{loss:.0e}"
