"""When the evaluator measures: by its own clock, or because shard 0 says that updates or epochs make it due.

Pure; times are seconds.
"""

from __future__ import annotations

from asgd.wire.messages import Beaten

ROUND_SECONDS = 1.0
"""Pause until weights are pulled again that were no newer than those of the evaluation before."""


class Agenda:
    """`seconds`: of the job file, for the time before shard 0 has told anything."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._at = 0.0
        self._answered = 0
        """The newest number that shard 0 has named and that was looked at."""
        self._rests_until = 0.0

    def due(self, heard: Beaten, now: float) -> bool:
        """Whether to measure now, by what shard 0 has said last."""
        if heard.stop:
            return False
        # NB: until shard 0 has answered a heartbeat, `heard` is empty.
        every = heard.every_seconds if heard.workers else self._seconds
        if every and now >= self._at:
            self._at = now + every
            return True
        return heard.evaluation_due not in (0, self._answered) and now >= self._rests_until

    def measured(self, heard: Beaten, fresh: bool, now: float) -> None:
        """It was done, as `heard` had asked for. Not `fresh`: a round is open, and its weights are still to come."""
        if fresh:
            self._answered = heard.evaluation_due
        else:
            self._rests_until = now + ROUND_SECONDS
