"""Collects what `explain` judges, by few requests: what cannot be had stays empty, and is never an error of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any, Protocol

from asgd.client.errors import ApiError, NotFound, Unreachable
from asgd.client.explain.facts import ROLE_LABEL, Facts
from asgd.spec.status import Status

Document = dict[str, Any]
LINES = 20
"""Of the log of a pod that does not join."""
PODS_MOST = 2
"""Whose logs are read."""
APART_SECONDS = 2.0
"""Between two looks at shard 0, whose difference tells how busy servers are now."""


class Cluster(Protocol):
    """What is asked for; `asgd.client.access.Access` is one."""

    @property
    def namespace(self) -> str: ...

    def job(self, name: str) -> Document: ...

    def pods(self, job: str, role: str = "") -> list[Document]: ...

    def events(self, about: Document | None = None) -> list[Document]: ...

    def logs(self, pod: str, *, tail: int | None = None) -> Iterator[str]: ...


Ask = Callable[[Any], Callable[[], Status | None]]


def gather(
    cluster: Cluster, name: str, shard_of: Ask, *, pause: Callable[[float], None] = time.sleep
) -> Facts:
    """`shard_of` a job answers what asks its shard 0. Raises what `cluster` raises for the job itself, but NotFound."""
    try:
        job = cluster.job(name)
    except NotFound as error:
        return Facts(cluster.namespace, name, None, served="resource type" not in str(error))
    facts = Facts(cluster.namespace, name, job)
    if facts.holds("Failed") or facts.holds("Complete"):
        return facts
    pods = _had(lambda: cluster.pods(name), [])
    healthy = facts.holds("Running") and not facts.holds("Degraded")
    events = [] if healthy else _about(_had(cluster.events, []), [name, *_names(pods, name)])
    asked = islice(_silent(facts, pods), PODS_MOST)
    logs = {pod: said for pod in asked if (said := _log(cluster, pod))}
    earlier, report = _reports(facts, pods, shard_of, pause)
    apart = APART_SECONDS if earlier is not None else 0.0
    return Facts(cluster.namespace, name, job, pods, events, logs, report, earlier, apart)


def _names(pods: Sequence[Document], name: str) -> Iterable[str]:
    return [f"{name}-server", f"{name}-worker", *(pod["metadata"]["name"] for pod in pods)]


def _about(events: Sequence[Document], names: Sequence[str]) -> list[Document]:
    known = {*names}
    return [event for event in events if event.get("involvedObject", {}).get("name") in known]


def _silent(facts: Facts, pods: Sequence[Document]) -> Iterator[str]:
    """Pods that run and are not ready, while the job waits for them."""
    if facts.holds("Running"):
        return
    for pod in pods:
        status = pod.get("status", {})
        ready = any(
            i.get("type") == "Ready" and i.get("status") == "True" for i in status.get("conditions", ())
        )
        if status.get("phase") == "Running" and not ready:
            yield str(pod["metadata"]["name"])


def _log(cluster: Cluster, pod: str) -> str:
    return "\n".join(_had(lambda: [*cluster.logs(pod, tail=LINES)], []))


def _reports(
    facts: Facts, pods: Sequence[Document], shard_of: Ask, pause: Callable[[float], None]
) -> tuple[Status | None, Status | None]:
    """(an earlier status, the newest one) of shard 0; None where it does not answer."""
    shard = f"{facts.name}-server-0"
    runs = any(
        pod["metadata"]["name"] == shard and pod["metadata"].get("labels", {}).get(ROLE_LABEL) == "server"
        for pod in pods
    )
    # NB: what keeps a job from running stands elsewhere; shard 0 is asked what makes it slow.
    if not runs or not facts.holds("WorkersReady"):
        return None, None
    asked = shard_of(facts.job)
    earlier = asked()
    if earlier is None:
        return None, None
    pause(APART_SECONDS)
    newest = asked()
    return (earlier, newest) if newest is not None else (None, earlier)


def _had(ask: Callable[[], Any], otherwise: Any) -> Any:
    with suppress(ApiError, Unreachable):
        return ask()
    return otherwise
