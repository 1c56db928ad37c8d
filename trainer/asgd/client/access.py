"""One namespace of one cluster: its jobs, their pods, events and logs, and what may be done to them.

    access = connect_to(namespace="team-a")        # kubeconfig and context as kubectl takes them
    job = access.job("digits")                      # documents are dicts as `-o json` prints them
    access.pods("digits", "worker"); access.events(job); [*access.logs(pod)]

Thin: whoever decides something does it in pure functions of these documents. Errors are those of `errors.py`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from asgd.client.connecting import connect
from asgd.client.errors import NotFound
from asgd.client.transport import Transport

Document = dict[str, Any]
JOB_LABEL, ROLE_LABEL = "asgd.dev/job-name", "asgd.dev/role"
CONTAINER = "asgd"
"""Name of the main container in every role."""
KIND = "AsgdJob"
MANAGER = "kubectl-asgd"
"""Field manager of what this package writes."""
_API = "apis/asgd.dev/v1alpha1"
PLACES = {
    KIND: (_API, "asgdjobs"),
    "ConfigMap": ("api/v1", "configmaps"),
    "Event": ("api/v1", "events"),
    "Job": ("apis/batch/v1", "jobs"),
    "LimitRange": ("api/v1", "limitranges"),
    "Namespace": ("api/v1", "namespaces"),
    "Node": ("api/v1", "nodes"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Pod": ("api/v1", "pods"),
    "ResourceQuota": ("api/v1", "resourcequotas"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
}
"""{kind: (group and version, plural)} of what can be asked for."""
_WIDE = {"Namespace", "Node"}
"""Kinds that stand in no namespace."""
_MERGE = "application/merge-patch+json"
_APPLY = "application/apply-patch+yaml"


class Access:
    """What this user sees and may do in `namespace`. `context` is the kubeconfig's, empty inside a pod."""

    def __init__(self, transport: Transport, namespace: str, context: str = "") -> None:
        self.namespace, self.context = namespace, context
        self._transport = transport

    def within(self, namespace: str) -> Access:
        """The same in another namespace."""
        return Access(self._transport, namespace, self.context)

    # -- reading -----------------------------------------------------------------------------------

    def get(self, kind: str, name: str) -> Document:
        """Raises NotFound."""
        found: Document = self._transport.call("GET", self._path(kind, name))
        return found

    def find(self, kind: str, name: str) -> Document | None:
        """The same, None where there is no such object."""
        try:
            return self.get(kind, name)
        except NotFound:
            return None

    def select(
        self, kind: str, *, labels: str = "", fields: str = "", everywhere: bool = False
    ) -> list[Document]:
        """Those of the namespace, or of all with `everywhere`, by label and field selectors as kubectl takes them."""
        query = {"labelSelector": labels, "fieldSelector": fields}
        asked = {key: value for key, value in query.items() if value}
        answer = self._transport.call("GET", self._path(kind, everywhere=everywhere), query=asked)
        version, of_list = answer.get("apiVersion", ""), str(answer.get("kind", ""))
        kind_of_item = of_list.removesuffix("List") or kind
        # NB: the items of a list do not say what they are.
        return [{"apiVersion": version, "kind": kind_of_item, **item} for item in answer.get("items") or ()]

    def job(self, name: str) -> Document:
        """The AsgdJob. Raises NotFound."""
        return self.get(KIND, name)

    def jobs(self, *, labels: str = "", everywhere: bool = False) -> list[Document]:
        return self.select(KIND, labels=labels, everywhere=everywhere)

    def pods(self, job: str, role: str = "") -> list[Document]:
        """Those of a job, of one role (server, worker, evaluator) or of all."""
        return self.select("Pod", labels=f"{JOB_LABEL}={job}" + (f",{ROLE_LABEL}={role}" if role else ""))

    def events(self, about: Document | None = None) -> list[Document]:
        """Those about one object by its UID, or of the whole namespace, in no order."""
        uid = about["metadata"]["uid"] if about else ""
        return self.select("Event", fields=f"involvedObject.uid={uid}" if uid else "")

    def logs(
        self,
        pod: str,
        *,
        container: str = CONTAINER,
        follow: bool = False,
        previous: bool = False,
        tail: int | None = None,
        since_seconds: int | None = None,
        timestamps: bool = False,
    ) -> Iterator[str]:
        """Lines of a container's log, without their ends; with `follow` until it ends. Raises ApiError."""
        query: dict[str, str | int] = {"container": container}
        query |= {
            key: "true"
            for key, asked in (("follow", follow), ("previous", previous), ("timestamps", timestamps))
            if asked
        }
        if tail is not None:
            query["tailLines"] = tail
        if since_seconds is not None:
            query["sinceSeconds"] = since_seconds
        for line in self._transport.lines(f"{self._path('Pod', pod)}/log", query=query, follow=follow):
            yield line.decode(errors="replace")

    # -- writing -----------------------------------------------------------------------------------

    def create(self, document: Document, *, dry_run: bool = False) -> Document:
        """Raises Conflict where it exists, Invalid where it is wrong."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"} | (
            {"dryRun": "All"} if dry_run else {}
        )
        made: Document = self._transport.call(
            "POST", self._path(document["kind"]), query=query, body=document
        )
        return made

    def apply(self, document: Document, *, dry_run: bool = False, force: bool = False) -> Document:
        """Server-side apply: makes it or changes it. Raises Conflict where another manager owns a field, but for
        `force`.
        """
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        query |= ({"dryRun": "All"} if dry_run else {}) | ({"force": "true"} if force else {})
        path = self._path(document["kind"], document["metadata"]["name"])
        made: Document = self._transport.call("PATCH", path, query=query, body=document, content=_APPLY)
        return made

    def patch(self, kind: str, name: str, change: Document) -> Document:
        """A merge patch: null takes a field away."""
        query = {"fieldManager": MANAGER, "fieldValidation": "Strict"}
        changed: Document = self._transport.call(
            "PATCH", self._path(kind, name), query=query, body=change, content=_MERGE
        )
        return changed

    def scale(self, job: str, replicas: int) -> Document:
        """Through the scale subresource, as `kubectl scale` and autoscalers do."""
        body = {"spec": {"replicas": replicas}}
        path = f"{self._path(KIND, job)}/scale"
        changed: Document = self._transport.call(
            "PATCH", path, query={"fieldManager": MANAGER}, body=body, content=_MERGE
        )
        return changed

    def delete(self, kind: str, name: str, *, uid: str = "") -> None:
        """With a `uid`: raises Conflict where another object has the name by now."""
        body: Document = {"propagationPolicy": "Background"}
        if uid:
            body["preconditions"] = {"uid": uid}
        self._transport.call("DELETE", self._path(kind, name), body=body)

    # -- into pods ---------------------------------------------------------------------------------

    def proxied(self, pod: str, port: int, path: str, *, seconds: float = 3.0) -> bytes:
        """What a pod serves, through the API server's own connection to it."""
        place = f"{self._path('Pod', f'{pod}:{port}')}/proxy{path}"
        return self._transport.fetch("GET", place, seconds=seconds)

    def forward(self, pod: str, port: int) -> Any:
        """A socket to a port of a pod, also of one that listens on its own address alone."""
        return self._transport.forward(f"{self._path('Pod', pod)}/portforward", port)

    def execute(self, pod: str, command: Sequence[str], *, container: str = CONTAINER) -> Iterator[bytes]:
        """What `command` prints in the pod, in pieces. Raises ApiError where it ends with another code than 0."""
        return self._transport.execute(f"{self._path('Pod', pod)}/exec", container, command)

    def _path(self, kind: str, name: str = "", *, everywhere: bool = False) -> str:
        place, plural = PLACES[kind]
        within = "" if everywhere or kind in _WIDE else f"/namespaces/{self.namespace}"
        return f"/{place}{within}/{plural}" + (f"/{name}" if name else "")


def connect_to(
    *, namespace: str = "", context: str = "", kubeconfig: str = "", timeout_seconds: float = 30.0
) -> Access:
    """Raises UserError where no cluster is known. Nothing is sent yet."""
    place = connect(kubeconfig, context)
    return Access(Transport(place, timeout_seconds), namespace or place.namespace, place.context)
