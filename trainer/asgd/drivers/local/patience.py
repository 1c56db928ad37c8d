"""Waits for what must be there before a run can train, shows the person what it is, and gives up at the deadline."""

from __future__ import annotations

import select
import time
from collections.abc import Callable, Sequence

from asgd.drivers.display import Display
from asgd.errors import UserError

_SHOW_SECONDS = 2.0
"""Shorter waits are not worth a word."""
_LOOK_SECONDS = 0.5


class Patience:
    """`seconds` for all waits of a run's start together: spec.runPolicy.startupDeadlineSeconds."""

    def __init__(self, display: Display, seconds: float) -> None:
        self._display, self._seconds = display, seconds
        self._deadline = time.monotonic() + seconds

    def wait(self, doing: str, done: Callable[[], bool], on: Callable[[], Sequence[int]]) -> None:
        """Until `done()`, which is asked when one of the descriptors `on()` can be read, and now and then.

        `doing`, as "importing train.py", is shown with its seconds. Raises UserError at the deadline.
        """
        begun = time.monotonic()
        while not done():
            now = time.monotonic()
            if now > self._deadline:
                raise UserError(
                    f"spec.entrypoint: {doing} has not ended after {now - begun:.0f} s;"
                    f" spec.runPolicy.startupDeadlineSeconds allows {self._seconds:g} s for the whole start"
                )
            if now - begun > _SHOW_SECONDS:
                self._display.waiting(f"{doing}: {now - begun:.0f} s")
            select.select(on(), [], [], max(0.0, min(_LOOK_SECONDS, self._deadline - now)))
