"""Follows a run's history.jsonl and hands its points to one sink: late, again after a failure, but each once.

What the library can't be given now (a network that is away, a full disk) stands in the file still, and is given later.
A run that goes back, or is resumed from a checkpoint, comes to counts of updates again that are logged already: a sink
that can't take points back gets none until the run is beyond them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from asgd.loggers.kept import Kept
from asgd.loggers.points import Back, Point, Points
from asgd.loggers.sink import Sink
from asgd.report import history
from asgd.report.lines import AnyLine, End

AT_ONCE = 1 << 20
"""Bytes that are read before they are written."""


class Following:
    """Of the history in `path`, into what `open_sink` opens; `kept` is what an earlier start has done."""

    def __init__(
        self, path: Path, kept: Kept, open_sink: Callable[[], Sink], clock: Callable[[], float] = time.time
    ) -> None:
        self._path, self.kept, self._open, self._clock = path, kept, open_sink, clock
        self._points = self._resumed()
        self._sink: Sink | None = None
        self._highest = kept.highest
        self._redoing = False
        """Points come that are logged already."""
        self._stop_reason = ""

    def look(self) -> bool:
        """Writes what is new; whether there was anything. Raises whatever the sink raises; then call it again."""
        sink = self._sink or self._begin()
        text = self._new()
        if not text:
            return False
        lines = history.parse(text).lines
        batch = self._batch(sink, lines)
        if batch:
            sink.write(batch)
        self.kept.read += len(text)
        points, kept = self._points, self.kept
        kept.updates, kept.evaluated, kept.metrics = points.updates, points.evaluated, points.metrics
        kept.highest = self._highest
        return True

    def give_up(self) -> None:
        """The sink has failed: the next look opens another one."""
        self._sink, self._points = None, self._resumed()

    def _resumed(self) -> Points:
        return Points(self.kept.updates, self.kept.evaluated, self.kept.metrics)

    def close(self) -> None:
        """Raises whatever the sink raises."""
        if self._sink is not None:
            self._sink.close(self._stop_reason)

    def _begin(self) -> Sink:
        sink = self._open()
        kept = self.kept
        self._highest = max(kept.highest, sink.highest)
        self._redoing = kept.updates < self._highest
        if sink.undoes and kept.updates >= 0:
            # NB: some of what a sink was given before it failed may have got through.
            sink.back(kept.updates)
        self._sink = sink
        return sink

    def _new(self) -> bytes:
        """Whole lines that were not logged yet."""
        try:
            with self._path.open("rb") as file:
                size = file.seek(0, 2)
                self.kept.read = min(self.kept.read, size)
                file.seek(self.kept.read)
                text = file.read(AT_ONCE)
        except OSError:
            return b""
        return text[: text.rfind(b"\n") + 1]

    def _batch(self, sink: Sink, lines: list[AnyLine]) -> list[tuple[float, Point]]:
        now, newest = self._clock(), max((line.t for line in lines), default=0.0)
        batch: list[tuple[float, Point]] = []
        for line in lines:
            if isinstance(line, End):
                self._stop_reason = line.stop_reason
            for item in self._points.take(line):
                if isinstance(item, Back):
                    self._redoing = True
                    if sink.undoes:
                        self._write_before_back(sink, batch, item)
                        batch = []
                    continue
                if self._points.updates > self._highest:
                    self._redoing, self._highest = False, self._points.updates
                if sink.undoes or not self._redoing:
                    batch.append((now - (newest - item.t), item))
        return batch

    @staticmethod
    def _write_before_back(sink: Sink, batch: list[tuple[float, Point]], back: Back) -> None:
        if batch:
            sink.write(batch)
        sink.back(back.updates)
