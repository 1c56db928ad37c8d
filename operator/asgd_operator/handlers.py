"""What kopf is used for: watching. A handler adds a key to the queue or keeps a few fields in an index,
nothing else.

No handler here detects changes, so kopf writes nothing: no finalizer, no annotation, no status. Events of
children are keyed to the job that their labels name; whether they are really its children is asked when the
job is looked at.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from typing import Any

import kopf

from asgd_operator import constants as c
from asgd_operator.engine import views
from asgd_operator.engine.agenda import Lane
from asgd_operator.engine.observe import Indices, key_of
from asgd_operator.engine.surprises import Surprises, describe
from asgd_operator.engine.unreadable import Unreadable
from asgd_operator.metrics import OperatorMetrics

log = logging.getLogger(__name__)

Body = Mapping[str, Any]
Place = Callable[[Body], object]
"""Where an object stands in an index; empty or None: nowhere, it is nobody's."""
View = Callable[[Body], object]
"""What the index keeps of an object; None: nothing."""
WATCH_SECONDS = 50
"""How long one request for events lasts."""

SUPPORTS = {
    "configmaps": ("", "v1"),
    "services": ("", "v1"),
    "networkpolicies": ("networking.k8s.io", "v1"),
    "poddisruptionbudgets": ("policy", "v1"),
}
CHILDREN = {"statefulsets": ("apps", "v1"), "jobs": ("batch", "v1"), "pods": ("", "v1"), **SUPPORTS}


def register(
    registry: kopf.OperatorRegistry,
    add: Callable[[str, Lane], None],
    metrics: OperatorMetrics,
    *,
    nodes: bool,
    is_news: Callable[[str, str], bool] = lambda uid, version: True,
) -> None:
    """Every handler of the operator; `add` hears the key of each changed job; `nodes`: whether nodes may be watched.
    `is_news`: whether a job of this UID is to be told of at this version.
    """

    def told(resource: str, key: str, lane: Lane) -> None:
        metrics.last_event.labels(resource).set(time.time())
        if key:
            add(key, lane)

    async def job(**seen: Any) -> None:
        news = is_news(seen["uid"] or "", str(seen["meta"].get("resourceVersion", "")))
        key = key_of(seen["namespace"], seen["name"]) if news else ""
        told(c.PLURAL, key, lane_of_job(seen["type"], seen["body"]))

    async def child(**seen: Any) -> None:
        # NB: a label may have been taken away by hand; the owner's name tells then whom to look at.
        name = seen["labels"].get(c.JOB_LABEL, "") or views.owner_name(seen["body"])
        key = key_of(seen["namespace"], name) if name else ""
        told(seen["resource"].plural, key, lane_of(seen["type"]))

    def index(group: str, version: str, plural: str, name: str, place: Place, view: View) -> None:
        handler = index_handler(metrics, name, place, view)
        kopf.index(group, version, plural, id=name, registry=registry)(handler)

    kopf.on.event(c.GROUP, c.VERSION, c.PLURAL, id="job", registry=registry)(job)
    for plural, (group, version) in CHILDREN.items():
        kopf.on.event(group, version, plural, id=f"child-{plural}", registry=registry)(child)
    index(c.GROUP, c.VERSION, c.PLURAL, "jobs", job_place, views.job)
    for plural, (group, version) in SUPPORTS.items():
        index(group, version, plural, plural, views.owner_uid, views.child)
    index("apps", "v1", "statefulsets", "servers", views.owner_uid, views.server_set)
    index("batch", "v1", "jobs", "batch", views.owner_uid, views.batch_job)
    index("", "v1", "pods", "pods", views.workload_of_pod, views.pod)
    if nodes:
        index("", "v1", "nodes", "nodes", node_place, views.node)


def configure(settings: kopf.OperatorSettings, *, timeout_seconds: float) -> None:
    """kopf's own settings: filters at the server, patience with it, and nothing written by kopf."""
    for plural, (group, version) in CHILDREN.items():
        settings.watching.label_selectors[(group, version, plural) if group else plural] = c.MANAGED_SELECTOR
    settings.watching.chunk_size = 500
    # NB: a stream whose other end is gone without a word looks like one on which nothing happens, and the operator
    # would act for ever on what it saw last. Streams end every minute; the next begins where the last one was.
    settings.watching.server_timeout = WATCH_SECONDS
    settings.watching.client_timeout = WATCH_SECONDS + 10
    settings.posting.enabled = False
    settings.persistence.finalizer = f"{c.GROUP}/unused"
    # Kinds and namespaces are looked up once, at start: watching CRDs would take a right that nothing else needs.
    settings.scanning.disabled = True
    settings.networking.request_timeout = timeout_seconds
    settings.networking.connect_timeout = 5
    settings.networking.error_backoffs = (1, 2, 3, 5, 8)
    settings.networking.enforce_retry_after = True
    # NB: no worker_limit. At start each object's worker waits until all objects are in the indices: more objects than
    # workers would wait for each other for ever.
    settings.execution.max_workers = 8
    settings.process.ultimate_exiting_timeout = 25


def indices(found: Mapping[str, Any]) -> Indices:
    """The indices among a kopf handler's keyword arguments."""
    return Indices(
        jobs=found["jobs"],
        servers=found["servers"],
        batch=found["batch"],
        supports=tuple(found[plural] for plural in SUPPORTS),
        pods=found["pods"],
        nodes=found.get("nodes"),
    )


def index_handler(metrics: OperatorMetrics, name: str, place: Place, view: View) -> Callable[..., Any]:
    """An index handler that never fails; see `engine.unreadable`. An object without a place, or with nothing to say, is
    taken out of the index, as when it was orphaned.
    """
    surprises = Surprises(log)

    async def handler(**seen: Any) -> dict[Any, Any]:
        subject, where = f"{seen['namespace'] or ''}/{seen['name']}", None
        try:
            where = place(seen["body"])
            found = view(seen["body"]) if where else None
        except Exception as error:
            metrics.unreadable.labels(name).inc()
            surprises.log(subject, error, f"bug: {name} {subject} cannot be read")
            found = Unreadable(f"{name} {subject} cannot be read: {describe(error)}", seen["uid"] or "")
        return {where: found} if where and found is not None else {}

    return handler


def lane_of(event: str | None) -> Lane:
    """Of an event about an object. One without a type is told because the watch begins: after a start all objects are,
    and a job that is new or changes then does not wait for them.
    """
    return Lane.ROUTINE if event is None else Lane.NEWS


def lane_of_job(event: str | None, body: Body) -> Lane:
    """The same for a job, which is news for as long as no look has written what it found."""
    looked_at = body.get("status", {}).get("observedGeneration") == body["metadata"].get("generation")
    return lane_of(event) if looked_at else Lane.NEWS


def job_place(body: Body) -> tuple[str, str]:
    return body["metadata"]["namespace"], body["metadata"]["name"]


def node_place(body: Body) -> str:
    return str(body["metadata"]["name"])


def login(**given: Any) -> kopf.ConnectionInfo | None:
    """kopf's credentials: the pod's service account, else whatever the official client makes of the
    kubeconfig.
    """
    return kopf.login_with_service_account(**given) or kopf.login_via_client(**given)
