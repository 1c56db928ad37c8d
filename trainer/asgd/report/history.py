"""history.jsonl: what happened in a run, second by second; a resumed run goes on in the same file.

Each line is one write, so a killed machine tears at most the last; readers drop it and the next writer cuts
it off. A line for which the disk has no room is left out, whole, and the run goes on. Time goes on where the
file ended: a server that restarts, or a resumed run, may count its seconds anew. When a line
is due is decided here; what stands in it in `lines`.
"""

from __future__ import annotations

from contextlib import suppress
from errno import ENOSPC
from os import SEEK_END, strerror
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Self

import msgspec
from msgspec import Struct

from asgd.errors import UserError
from asgd.report import lines
from asgd.report.lines import AnyLine, Evaluation, Run
from asgd.spec.status import Status

_PROGRESS_SECONDS = 1.0
_HISTOGRAM_SECONDS = 30.0

_decoder: msgspec.json.Decoder[AnyLine] = msgspec.json.Decoder(AnyLine)


class History(Struct, frozen=True):
    """The lines of a file in their order; `skipped` counts those that could not be read."""

    lines: list[AnyLine]
    skipped: int = 0


def read(path: Path) -> History:
    """All readable lines of `path`; torn ones and kinds of newer versions are skipped. Raises UserError."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise UserError(f"history {path} cannot be read: {error.strerror}") from error
    return parse(data)


def parse(data: bytes) -> History:
    """As `read`, from bytes. A last line without its newline is torn even if it happens to parse."""
    *whole, rest = data.split(b"\n")
    good: list[AnyLine] = []
    skipped = 1 if rest else 0
    for text in whole:
        try:
            good.append(_decoder.decode(text))
        except (msgspec.DecodeError, UnicodeDecodeError):
            skipped += 1
    return History(good, skipped)


class HistoryWriter:
    """Appends the lines of one run to `path`: `record` each status, `close` at the end. Raises OSError at its start.

    `trouble` says why the last line was left out, or nothing.
    """

    def __init__(self, path: Path, *, simulated: bool = False) -> None:
        self._simulated = simulated
        kept = _cut_torn_line(path)
        self._file: BinaryIO = path.open("ab", buffering=0)
        self._path = path
        self.trouble = ""
        self._t = max((line.t for line in kept), default=0.0)
        self._offset = 0.0
        self._evaluated = _last_evaluation(kept)
        self._before: Status | None = None
        self._progress_of: Status | None = None
        self._progress_due = self._t
        self._histogram_due = self._t + _HISTOGRAM_SECONDS

    def record(self, status: Status) -> None:
        """Writes what `status` brings: events and a new evaluation at once, progress once a second."""
        earliest, t = self._t, self._clock(status)
        if self._before is None:
            self._write(lines.run(status, earliest, self._simulated))
        for event in lines.events(self._before, status, earliest, self._offset):
            self._write(event)
        self._record_evaluation(status, t)
        if t >= self._progress_due or self._before is None:
            self._record_progress(status, t)
        if t >= self._histogram_due and status.staleness_histogram:
            self._record_histogram(status, t)
        self._before = status

    def close(self) -> None:
        """Writes the last status, however short the run was, and ends the file. Twice is no harm."""
        if self._file.closed:
            return
        last = self._before
        if last is not None:
            if last is not self._progress_of:
                self._record_progress(last, self._t)
            if last.staleness_histogram:
                self._record_histogram(last, self._t)
            self._write(lines.End(t=self._t, stop_reason=last.stop_reason))
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _clock(self, status: Status) -> float:
        # NB: seconds may fall when shard 0 comes back or the job resumes; the file's time only rises.
        self._offset = max(self._offset, self._t - status.seconds)
        self._t = status.seconds + self._offset
        return self._t

    def _record_progress(self, status: Status, t: float) -> None:
        self._write(lines.progress(status, t))
        self._progress_of = status
        self._progress_due = t + _PROGRESS_SECONDS

    def _record_histogram(self, status: Status, t: float) -> None:
        self._write(lines.Histogram(t=t, histogram=status.staleness_histogram))
        self._record_timing(status, t)
        self._histogram_due = t + _HISTOGRAM_SECONDS

    def _record_timing(self, status: Status, t: float) -> None:
        line = lines.timing(status, t)
        if line.workers:
            self._write(line)

    def _record_evaluation(self, status: Status, t: float) -> None:
        if not status.metrics:
            return
        line = lines.evaluation(status, t)
        if (line.updates, line.metrics) != self._evaluated:
            self._write(line)
            self._evaluated = (line.updates, line.metrics)

    def _write(self, line: AnyLine) -> None:
        text = msgspec.json.encode(line) + b"\n"
        whole = self._file.seek(0, SEEK_END)
        try:
            if self._file.write(text) < len(text):
                raise OSError(ENOSPC, strerror(ENOSPC))
            self.trouble = ""
        except OSError as error:
            self.trouble = f"{self._path} cannot be written: {error.strerror}"
            with suppress(OSError):
                self._file.truncate(whole)


def _cut_torn_line(path: Path) -> list[AnyLine]:
    if not path.exists():
        return []
    data = path.read_bytes()
    whole = data.rfind(b"\n") + 1
    if whole < len(data):
        with path.open("r+b") as file:
            file.truncate(whole)
    return parse(data[:whole]).lines


def _last_evaluation(kept: list[AnyLine]) -> tuple[int, dict[str, float | None]] | None:
    found = [line for line in kept if isinstance(line, Evaluation)]
    return (found[-1].updates, found[-1].metrics) if found else None


def last_run(history: History) -> Run | None:
    """The newest `Run` line: the job's name, algorithm and stop rule."""
    found = [line for line in history.lines if isinstance(line, Run)]
    return found[-1] if found else None
