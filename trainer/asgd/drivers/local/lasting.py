"""A trouble that lasts, as a full disk: said when it begins, again while it lasts, and when it is over."""

from __future__ import annotations

import time
from collections.abc import Callable

AGAIN_SECONDS = 60.0


class Lasting:
    """Tells the person by `note`; `goes_on` is added to what is wrong, `over` is said at the end of it."""

    def __init__(
        self,
        note: Callable[[str], None],
        goes_on: str,
        over: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._note, self._goes_on, self._over, self._clock = note, goes_on, over, clock
        self._since: float | None = None
        self._said = 0.0

    def look(self, trouble: str) -> None:
        """`trouble`: what is wrong at this moment; empty if nothing is."""
        now = self._clock()
        if not trouble:
            if self._since is not None:
                self._note(f"{self._over}, after {now - self._since:.0f} s")
            self._since = None
            return
        if self._since is None:
            self._since = now
        elif now - self._said < AGAIN_SECONDS:
            return
        self._said = now
        self._note(f"warning: {trouble}; {self._goes_on}")
