"""Ctrl-C and its kin in `asgd run`: the first one stops the job in order, the second ends everything at once.

While a job runs the handler only counts; the run's loop looks at the count (`asked`, `check`). Before and after that
nobody looks, and the first signal ends the command: a SystemExit out of whatever it does, so that its `finally` clauses
clean up. From then on further signals are ignored, for nothing may interrupt the cleaning. SIGTERM and a closed
terminal (SIGHUP) mean the same as Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from asgd import exitcodes

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Catches the signals from `watch` on."""

    def __init__(self) -> None:
        self._count = 0
        self._watched: tuple[signal.Signals, ...] = ()

    def watch(self) -> None:
        """From here on the first signal ends the command; SIGHUP stays ignored under nohup."""
        self._watched = tuple(
            number
            for number in _SIGNALS
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN
        )
        for number in self._watched:
            signal.signal(number, _end)

    def begin_orderly(self) -> None:
        """From here on there is a job that can be stopped in order: signals are counted, and `check` is called."""
        for number in self._watched:
            signal.signal(number, self._caught)

    def end_orderly(self) -> None:
        """The job is over: nobody looks at the count any more."""
        for number in self._watched:
            signal.signal(number, _end)
        self.check()

    @property
    def asked(self) -> bool:
        """Whether the job is to stop."""
        return self._count > 0

    def check(self) -> None:
        """Ends the command at once (SystemExit) when a second signal has come."""
        if self._count > 1:
            _end(0, None)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        self._count += 1


def _end(number: int, frame: FrameType | None) -> None:
    for each in _SIGNALS:
        signal.signal(each, signal.SIG_IGN)
    sys.exit(exitcodes.INTERRUPTED)
