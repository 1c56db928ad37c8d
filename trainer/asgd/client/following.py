"""Follows a job to its end: what is worth a line, from one look to the next, and the loop that looks.

`notes` decides and is pure; `Follower` asks the cluster and feeds the display of `asgd run`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Protocol

from asgd.client.access import Access
from asgd.client.documents import Document, condition, ended, part, refused, suspended
from asgd.client.errors import ApiError, NotFound, Unreachable
from asgd.client.shard import Shard
from asgd.spec.status import Status

LOOK_SECONDS = 1.0
_LOST_SECONDS = 60.0
"""For so long an API server that does not answer is waited for."""
_UNSEEN_SECONDS = 10.0
_QUIET = ("AsExpected", "FewerThanDesired", "MetricsUnavailable")
"""Reasons of Degraded that pass by themselves while a job starts, grows or ends."""
WORDS = {
    "Queued": "waits in its queue",
    "Starting": "starts",
    "Recovering": "waits for servers that come back",
    "WaitingForWorkers": "waits for workers",
    "Running": "trains",
    "Stalled": "is stalled",
    "Suspending": "is being suspended",
    "Suspended": "is suspended",
    "Completing": "completes",
    "Terminating": "is being deleted",
}


class View(Protocol):
    """A part of `drivers.display.Display`."""

    def update(self, status: Status) -> None: ...
    def note(self, text: str) -> None: ...
    def waiting(self, text: str) -> None: ...


def notes(before: Document | None, job: Document, *, trained: bool = False) -> Iterator[str]:
    """What is new about a job and worth a line. `trained`: its stop rule is met, so workers that leave are no news."""
    phase, old = part(job, "status", "phase"), part(before or {}, "status", "phase")
    leaving = trained and phase in ("WaitingForWorkers", "Recovering")
    if phase != old and phase in WORDS and not leaving and not (before is None and phase == "Running"):
        yield f"{job['metadata']['name']} {WORDS[phase]}"
    degraded, was = condition(job, "Degraded"), condition(before or {}, "Degraded")
    new = (degraded.get("reason"), degraded.get("status")) != (was.get("reason"), was.get("status"))
    if new and degraded.get("status") == "True" and degraded.get("reason") not in _QUIET:
        yield f"warning: {degraded.get('reason')}: {degraded.get('message')}"
    failure, earlier = part(job, "status", "lastFailure"), part(before or {}, "status", "lastFailure")
    if failure and failure != earlier:
        said = f": {' '.join(str(failure['message']).split())}" if failure.get("message") else ""
        yield (
            f"warning: {failure.get('pod')} failed ({failure.get('reason') or 'Error'}, exit code"
            f" {failure.get('exitCode')}){said}"
        )


def waiting_for(job: Document) -> str:
    """What a job that does not train waits for, in one line; empty when it trains or has ended."""
    if ended(job) or part(job, "status", "phase") == "Running":
        return ""
    return str(part(job, "status", "message") or "")


class Follower:
    """One job's way to its end. `statuses` hears each status of shard 0."""

    def __init__(
        self,
        access: Access,
        name: str,
        view: View,
        statuses: Callable[[Status], None] = lambda status: None,
        *,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._access, self._name, self._view = access, name, view
        self._statuses, self._sleep, self._clock = statuses, sleep, clock
        self._before: Document | None = None
        self._shard: Shard | None = None
        self._trained = False
        self._began = clock()

    def follow(self, seconds: float | None = None) -> Document | None:
        """The job at its end, or when it is suspended; None when `seconds` are over before.

        Raises ApiError when it is deleted or not accepted.
        """
        deadline = None if seconds is None else self._clock() + seconds
        lost = self._clock() + _LOST_SECONDS
        while True:
            try:
                job = self._look()
                lost = self._clock() + _LOST_SECONDS
                if self._over(job):
                    return job
            except NotFound:
                raise ApiError(
                    f"error: {self._name} is gone: somebody has deleted it", 404, "NotFound"
                ) from None
            except Unreachable as error:
                if self._clock() > lost:
                    raise
                self._view.waiting(str(error))
            if deadline is not None and self._clock() >= deadline:
                return None
            self._sleep(LOOK_SECONDS)

    def _look(self) -> Document:
        job = self._access.job(self._name)
        for text in notes(self._before, job, trained=self._trained):
            self._view.note(text)
        self._before = job
        self._shard = self._shard or Shard(self._access, job)
        training = part(job, "status", "phase") in ("Running", "Completing", "Stalled", "WaitingForWorkers")
        told = self._shard.ask() if training else None
        if told is not None and told.updates:
            self._trained = bool(told.stop_reason)
            self._view.update(told)
            self._statuses(told)
        elif text := waiting_for(job) or self._unseen(job):
            self._view.waiting(text)
        return job

    def _unseen(self, job: Document) -> str:
        """A sentence about a job that no operator has taken for a while; else empty."""
        if part(job, "status", "phase") or self._clock() < self._began + _UNSEEN_SECONDS:
            return ""
        return f"no operator has taken {self._name} yet: is the chart installed? helm list -A tells"

    def _over(self, job: Document) -> bool:
        if why := refused(job):
            raise ApiError(f"error: {self._name} is not accepted: {why}", 422, "Invalid")
        return bool(ended(job)) or (suspended(job) and part(job, "status", "phase") == "Suspended")
