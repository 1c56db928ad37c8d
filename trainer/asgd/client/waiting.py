"""Waits for what a job's conditions say. What ends a wait is decided in `verdict`, which is pure."""

from __future__ import annotations

import time
from collections.abc import Callable

from asgd.client.access import Access
from asgd.client.documents import Document, condition, ended, exit_code, refused
from asgd.client.errors import ApiError, Unreachable

_PAUSE_SECONDS = 1.0
_TIMED_OUT = 1
_PATIENCE = 5
"""So many questions in a row may stay without an answer."""


class Wait:
    """`until` and `met` return when the job `name` is as wished. Raises ApiError where it is gone or cannot become so.

    `clock` and `sleep` are those of `time`; `each` hears the job at each look.
    """

    def __init__(
        self,
        access: Access,
        name: str,
        seconds: float | None = None,
        *,
        each: Callable[[Document], None] = lambda job: None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.name, self._access, self._seconds = name, access, seconds
        self._each, self._clock, self._sleep = each, clock, sleep

    def until(self, kind: str, value: str = "True") -> int:
        """Returns 0. Raises ApiError when the job ends otherwise, or the time is over."""
        self._look(lambda job: verdict(job, kind, value), f"condition {kind}={value}")
        return 0

    def end(self) -> Document:
        """The job when it is Complete or Failed."""
        return self._look(lambda job: "" if ended(job) else None, "end")

    def _look(self, judge: Callable[[Document], str | None], wish: str) -> Document:
        """`judge` gives '' when the wish is met, why it never will be, or None as long as it may."""
        deadline = None if self._seconds is None else self._clock() + self._seconds
        silent = 0
        while True:
            try:
                job = self._access.job(self.name)
                silent = 0
            except Unreachable:
                silent += 1
                if silent > _PATIENCE:
                    raise
            else:
                self._each(job)
                said = judge(job)
                if said == "":
                    return job
                if said is not None:
                    raise ApiError(f"error: {said}")
                if why := refused(job):
                    raise ApiError(f"error: {self.name} is not accepted: {why}")
            if deadline is not None and self._clock() >= deadline:
                raise ApiError(
                    f"error: timed out waiting for the {wish} on asgdjobs/{self.name} after {self._seconds:g}s",
                    _TIMED_OUT,
                    "Timeout",
                )
            self._sleep(_PAUSE_SECONDS)


def verdict(job: Document, kind: str, value: str) -> str | None:
    """'' when the condition has this value, a sentence when it never will, None as long as it may."""
    found = condition(job, kind)
    if found.get("status", "Unknown") == value:
        return ""
    end = ended(job)
    if end and not (kind == end and value == "False"):
        said = condition(job, end)
        return (
            f"{job['metadata']['name']} is {end} ({said.get('reason')}) and will not become {kind}={value}:"
            f" {said.get('message')}"
        )
    return None


def end_of(wait: Wait) -> int:
    """Waits for the job's end and says it; returns what `asgd run` would have ended with."""
    return said_end(wait.end())


def said_end(job: Document) -> int:
    """Prints how a job has ended."""
    end = ended(job)
    found = condition(job, end)
    print(f"{job['metadata']['name']} is {end} ({found.get('reason')}): {found.get('message')}")
    return exit_code(job)
