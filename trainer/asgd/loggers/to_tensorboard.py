"""Event files by TensorBoard's own writer; no torch and no TensorFlow."""

from __future__ import annotations

from collections.abc import Sequence

from tensorboard.compat.proto.event_pb2 import Event, SessionLog
from tensorboard.compat.proto.summary_pb2 import Summary
from tensorboard.summary.writer.event_file_writer import EventFileWriter

from asgd.loggers.points import Point
from asgd.loggers.sink import Place
from asgd.spec.types import TensorBoard

DEFAULT = "tensorboard"


class TensorBoardSink:
    """A resumed run adds an event file to the same folder."""

    highest = -1
    undoes = True

    def __init__(self, how: TensorBoard, place: Place) -> None:
        self.folder = f"{how.dir.rstrip('/')}/{place.name}" if how.dir else str(place.folder / DEFAULT)
        self._writer = EventFileWriter(self.folder)

    def back(self, updates: int) -> None:
        """TensorBoard forgets what has a step from that of a session's start on."""
        start = SessionLog(status=SessionLog.START)
        self._writer.add_event(Event(step=updates + 1, session_log=start))

    def write(self, points: Sequence[tuple[float, Point]]) -> None:
        for when, point in points:
            values = [Summary.Value(tag=name, simple_value=value) for name, value in point.values.items()]
            self._writer.add_event(Event(wall_time=when, step=point.updates, summary=Summary(value=values)))
        self._writer.flush()

    def close(self, stop_reason: str) -> None:
        self._writer.close()
