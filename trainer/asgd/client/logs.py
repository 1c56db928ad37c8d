"""Logs of many pods at once: each line with who said it, in the order in which they come.

Which pods, and what stands before their lines, is decided by pure functions; a thread a pod reads while it is followed.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from asgd.client.access import Access, Document
from asgd.client.documents import in_order, index_of, label_of, main_container, name_of, part, role_of
from asgd.client.errors import ApiError, Unreachable

_LOOK_SECONDS = 2.0
_MOST_WAITING = 10_000
"""Lines that are kept for who prints more slowly than they come."""


@dataclass(frozen=True, slots=True)
class Choice:
    """Whose logs, and how much of them."""

    role: str = ""
    worker: int | None = None
    previous: bool = False
    tail: int | None = None
    since_seconds: int | None = None
    timestamps: bool = False

    def takes(self, pod: Document) -> bool:
        if self.worker is not None:
            return role_of(pod) == "worker" and index_of(pod) == self.worker
        return not self.role or role_of(pod) == self.role


def chosen(pods: Sequence[Document], choice: Choice) -> list[Document]:
    """The pods that are asked for and have begun, in order."""
    return [pod for pod in in_order(pods) if choice.takes(pod) and begun(pod)]


def begun(pod: Document) -> bool:
    """Its main container has a log."""
    state = main_container(pod)
    return bool(state.get("containerID") or state.get("restartCount")) or part(pod, "status", "phase") in (
        "Running",
        "Succeeded",
        "Failed",
    )


def prefix(pod: Document, width: int) -> str:
    """`worker 3   | `, of one width for all."""
    return f"{label_of(pod):<{width}} | "


def width_of(pods: Sequence[Document]) -> int:
    return max((len(label_of(pod)) for pod in pods), default=0)


def read(access: Access, pods: Sequence[Document], choice: Choice) -> Iterator[str]:
    """What stands in the logs now, pod by pod."""
    width = width_of(pods)
    for pod in pods:
        before = prefix(pod, width) if len(pods) > 1 else ""
        try:
            for line in _lines(access, pod, choice, follow=False):
                yield f"{before}{line}"
        except ApiError as error:
            if len(pods) == 1:
                raise
            yield f"{before}({error})"


def _lines(access: Access, pod: Document, choice: Choice, *, follow: bool) -> Iterator[str]:
    return access.logs(
        name_of(pod),
        follow=follow,
        previous=choice.previous,
        tail=choice.tail,
        since_seconds=choice.since_seconds,
        timestamps=choice.timestamps,
    )


class Following:
    """The logs of a job's pods, those that come later too, until `over()` says that no more will come."""

    def __init__(self, access: Access, job: str, choice: Choice, over: Callable[[], bool]) -> None:
        self._access, self._job, self._choice, self._over = access, job, choice, over
        self._lines: queue.Queue[str] = queue.Queue(_MOST_WAITING)
        self._followed: dict[str, threading.Thread] = {}

    def lines(self) -> Iterator[str]:
        """As they come. Raises ApiError where the pods cannot be listed."""
        due = 0.0
        while True:
            if time.monotonic() >= due:
                over = self._over()
                self._look()
                due = time.monotonic() + _LOOK_SECONDS
            try:
                yield self._lines.get(timeout=0.2)
            except queue.Empty:
                if over and not any(thread.is_alive() for thread in self._followed.values()):
                    return

    def _look(self) -> None:
        pods = chosen(self._access.pods(self._job), self._choice)
        width = max(width_of(pods), len("worker 10"))
        for pod in pods:
            key = f"{pod['metadata']['uid']}/{main_container(pod).get('containerID', '')}"
            if key not in self._followed:
                thread = threading.Thread(target=self._follow, args=(pod, prefix(pod, width)), daemon=True)
                self._followed[key] = thread
                thread.start()

    def _follow(self, pod: Document, before: str) -> None:
        try:
            for line in _lines(self._access, pod, self._choice, follow=True):
                self._lines.put(f"{before}{line}")
        except (ApiError, Unreachable) as error:
            self._lines.put(f"{before}({error})")
