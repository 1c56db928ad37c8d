"""Ctrl-C and its kin in `asgd run`: the first one stops the job in order, the second ends everything at once.

The end at once is a SystemExit out of whatever the parent does, so that its `finally` clauses clean up; from then on
further signals are ignored, for nothing may interrupt the cleaning. SIGTERM and a closed terminal (SIGHUP) mean the
same as Ctrl-C.
"""

from __future__ import annotations

import signal
import sys
from types import FrameType

from asgd import exitcodes

_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Interrupts:
    """Catches the signals from `watch` on. `asked` tells whether the job is to stop."""

    def __init__(self) -> None:
        self.asked = False
        self.orderly = False
        """There is a job that can be stopped in order; before that the first signal ends at once."""

    def watch(self) -> None:
        """Starts catching; SIGHUP stays ignored under nohup."""
        for number in _SIGNALS:
            if number != signal.SIGHUP or signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._caught)

    def _caught(self, number: int, frame: FrameType | None) -> None:
        if self.orderly and not self.asked:
            self.asked = True
            return
        for each in _SIGNALS:
            signal.signal(each, signal.SIG_IGN)
        sys.exit(exitcodes.INTERRUPTED)
