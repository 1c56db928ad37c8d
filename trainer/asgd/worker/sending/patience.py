"""How long a worker waits for servers, and the sentence when it waits no longer. It reads no clock.

Every wait of a worker goes by one of these: to join, for an exchange, for a lease. Silence is what counts; a server
that says "not yet" is there, and bounds that wait itself. A worker that was told to leave has `workers.drainSeconds`
in all, and one that has failed waits for nobody, whatever its servers say.
"""

from __future__ import annotations

from collections.abc import Callable

from asgd.errors import TryAgain

DRAIN_SHARE = 0.9
"""Of `workers.drainSeconds`: the rest is for saying why, before the process is killed."""


class Patience:
    """`seconds` of silence while it trains; `drain_seconds` from when `leaving` first says yes. Seen by two threads."""

    def __init__(
        self, seconds: float, drain_seconds: float = 30.0, leaving: Callable[[], bool] = lambda: False
    ) -> None:
        self.seconds, self.drain_seconds = seconds, drain_seconds
        self._leaving = leaving
        self._left_at: float | None = None
        self._given_up = ""

    def give_up(self, why: str) -> None:
        """From here on nobody is waited for."""
        self._given_up = why

    def check(self, whom: Callable[[], str], heard: float, now: float) -> None:
        """Who `whom` names is waited for and was heard of at `heard`. Raises TryAgain when that is too long."""
        if self._given_up:
            raise TryAgain(f"{self._given_up}: {whom()} is not waited for")
        if self._left_at is None and self._leaving():
            self._left_at = now
        drain = DRAIN_SHARE * self.drain_seconds
        if self._left_at is not None and now - self._left_at > drain:
            raise TryAgain(
                f"told to leave {now - self._left_at:.0f} s ago, of workers.drainSeconds {self.drain_seconds:g}, and"
                f" {whom()} still has not answered: what this worker pushed last may be lost"
            )
        if now - heard > self.seconds:
            raise TryAgain(f"{whom()} has not answered for {self.seconds:.0f} s")
