"""Reads what the watches have seen of one job: kopf's indices in, an `Observed` out.

Children are found by the UID of their owner, pods by that of the workload that made them: what only wears the
right name or label is not ours. Nothing is asked of the API server here.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any, TypeVar

from asgd_operator.constants import Role
from asgd_operator.engine.unreadable import Unreadable, UnreadableObject
from asgd_operator.engine.views import JobSeen
from asgd_operator.plan.model import BatchJob, Child, Node, Observed, Pod, ServerSet
from asgd_operator.render.names import child

T = TypeVar("T")
Index = Mapping[Any, Collection[T | Unreadable]]


@dataclass(frozen=True)
class Indices:
    """What the handlers keep. `jobs` by (namespace, name), children and pods by their owner's UID."""

    jobs: Index[JobSeen] = field(default_factory=dict)
    servers: Index[ServerSet] = field(default_factory=dict)
    batch: Index[BatchJob] = field(default_factory=dict)
    supports: tuple[Index[Child], ...] = ()
    pods: Index[Pod] = field(default_factory=dict)
    nodes: Index[Node] | None = None
    """None where nodes may not be watched."""

    def job(self, key: str) -> JobSeen | None:
        """Raises UnreadableObject."""
        namespace, _, name = key.partition("/")
        return _newest(self.jobs, (namespace, name))

    def keys(self) -> list[str]:
        return [key_of(*place) for place in self.jobs]


def key_of(namespace: str, name: str) -> str:
    """A job's key in the queue."""
    return f"{namespace}/{name}"


def observe(indices: Indices, seen: JobSeen, now: datetime) -> Observed:
    """The job and its children as last seen. The spec, what it renders to, and the report are added by the
    caller. Raises UnreadableObject when one of them could not be read.
    """
    jobs = list(_all(indices.batch, seen.uid))
    servers = next(_all(indices.servers, seen.uid), None)
    made = [made.uid for made in (*jobs, servers) if made is not None]
    pods = [pod for uid in made for pod in _all(indices.pods, uid)]
    named = {job.name: job for job in jobs}
    return Observed(
        name=seen.name,
        namespace=seen.namespace,
        uid=seen.uid,
        generation=seen.generation,
        spec=None,
        now=now,
        status=seen.status,
        deleting=seen.deleting,
        servers=servers and _counted(servers, pods),
        workers=named.get(child(seen.name, Role.WORKER)),
        evaluator=named.get(child(seen.name, Role.EVALUATOR)),
        others=tuple(item for index in indices.supports for item in _all(index, seen.uid)),
        pods=tuple(sorted(pods, key=lambda pod: pod.name)),
        nodes=_nodes(indices),
    )


def _counted(servers: ServerSet, pods: list[Pod]) -> ServerSet:
    """With the pods that are ready though the StatefulSet does not count them (`views.pod`)."""
    ready = sum(pod.role == Role.SERVER and pod.ready and pod.deletion is None for pod in pods)
    return replace(servers, ready=max(servers.ready, min(ready, servers.replicas)))


def _nodes(indices: Indices) -> dict[str, Node] | None:
    if indices.nodes is None:
        return None
    # NB: a node that cannot be read is one that nothing is known of: it must not stop the jobs of all others.
    seen = ((name, next(iter(found), None)) for name, found in indices.nodes.items())
    return {name: node for name, node in seen if isinstance(node, Node)}


def _all(index: Index[T], key: object) -> Iterator[T]:
    for found in index.get(key, ()):
        if isinstance(found, Unreadable):
            raise UnreadableObject(found)
        yield found


def _newest(index: Index[JobSeen], key: object) -> JobSeen | None:
    """NB: a job that was deleted and made again may stand twice for a moment."""
    return max(_all(index, key), key=lambda seen: seen.version, default=None)


def with_newer_status(seen: JobSeen, written: tuple[int, Mapping[str, Any]] | None) -> JobSeen:
    """Our own last write, where the watch has not brought it yet: a pass must not tell a transition twice."""
    return replace(seen, status=written[1]) if written is not None and seen.version < written[0] else seen
