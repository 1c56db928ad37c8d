"""The API client: a handful of verbs on plain dicts, and errors that say what to do about them.

It is a thin layer over the official client's asyncio `ApiClient`, which brings configuration, TLS, token
refresh and connection pooling; its generated models are left out, because children are rendered as plain
manifests. Beside kopf, which imports the same package, it costs about 2 MB. Nothing is retried here: the
queue knows better when.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, cast

import aiohttp
from kubernetes.aio import client, config

from asgd_operator import constants as c
from asgd_operator.answers import refusal
from asgd_operator.errors import Conflict, Forbidden, LeaseLost, NamespaceEnds, NotFound, Transient
from asgd_operator.plan.actions import Event

Manifest = Mapping[str, Any]
APPLY = "application/apply-patch+yaml; charset=utf-8"

_PLACES = {
    "ConfigMap": ("api/v1", "configmaps"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "Event": ("api/v1", "events"),
    "PersistentVolumeClaim": ("api/v1", "persistentvolumeclaims"),
    "Pod": ("api/v1", "pods"),
    "Secret": ("api/v1", "secrets"),
    "Service": ("api/v1", "services"),
    "StatefulSet": ("apis/apps/v1", "statefulsets"),
    "Job": ("apis/batch/v1", "jobs"),
    "NetworkPolicy": ("apis/networking.k8s.io/v1", "networkpolicies"),
    "PodDisruptionBudget": ("apis/policy/v1", "poddisruptionbudgets"),
    "PodMonitor": ("apis/monitoring.coreos.com/v1", "podmonitors"),
    c.KIND: (f"apis/{c.API_VERSION}", c.PLURAL),
}


async def connect() -> client.ApiClient:
    """A client for the cluster that this pod runs in, else for the one of the kubeconfig. Raises Transient."""
    configuration = client.Configuration()
    try:
        if os.environ.get("KUBERNETES_SERVICE_HOST"):
            config.load_incluster_config(client_configuration=configuration)
        else:
            await config.load_kube_config(client_configuration=configuration)
    except (config.ConfigException, OSError) as error:
        raise Transient(f"no cluster to talk to: {error}") from error
    return client.ApiClient(configuration)


@dataclass
class Kube:
    """`on_request(verb, resource, code)` is called for each answer; code 0 is a connection that broke.

    The verb is the HTTP method, and DRYRUN for what changes nothing. `may_write` is asked before each write: a process
    that was frozen beyond its Lease writes nothing when it wakes, before it has found out. Every write raises LeaseLost
    then.
    """

    api: client.ApiClient
    timeout_seconds: float = 30.0
    on_request: Callable[[str, str, int], None] = field(default=lambda verb, resource, code: None)
    may_write: Callable[[], bool] = field(default=lambda: True)

    async def apply(self, manifest: Manifest, *, uid: str = "", dry_run: bool = False) -> Manifest:
        """Server-side apply of a whole manifest; what others set on the object stays.

        With a `uid`: raises Conflict where no object with it has the name.
        """
        if uid:
            manifest = {**manifest, "metadata": {**manifest["metadata"], "uid": uid}}
        return await self._apply(manifest, _path(manifest), c.MANAGER, dry_run=dry_run)

    async def apply_live(self, kind: str, namespace: str, name: str, uid: str, spec: Manifest) -> None:
        """Server-side apply of `spec` by a manager of its own. Raises Conflict where no object with this UID has the
        name.
        """
        place, _ = _PLACES[kind]
        manifest = {
            "apiVersion": place.removeprefix("apis/").removeprefix("api/"),
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "spec": dict(spec),
        }
        await self._apply(manifest, _path(manifest), c.LIVE_MANAGER)

    async def apply_status(self, namespace: str, name: str, uid: str, status: Manifest) -> Manifest:
        """The whole status of the job with this UID. Raises Conflict where another took its name."""
        metadata = {"name": name, "namespace": namespace, "uid": uid}
        manifest = {"apiVersion": c.API_VERSION, "kind": c.KIND, "metadata": metadata, "status": dict(status)}
        return await self._apply(manifest, f"{_path(manifest)}/status", c.MANAGER)

    async def create(self, manifest: Manifest) -> None:
        """Raises Conflict where it exists already."""
        path, _ = _path(manifest).rsplit("/", 1)
        await self._request("POST", path, manifest["kind"], body=manifest, query={"fieldManager": c.MANAGER})

    async def replace(self, manifest: Manifest) -> None:
        """Raises Conflict where another wrote after the version that `manifest` carries."""
        await self._request("PUT", _path(manifest), manifest["kind"], body=manifest)

    async def get(self, kind: str, namespace: str, name: str, api_version: str = "") -> Manifest | None:
        """None where there is no such object."""
        manifest = {
            "apiVersion": api_version,
            "kind": kind,
            "metadata": {"name": name, "namespace": namespace},
        }
        try:
            return await self._request("GET", _path(manifest), kind)
        except NotFound:
            return None

    async def warnings(self, namespace: str, uid: str) -> list[Manifest]:
        """The warning Events about the object with this UID, in no order."""
        place, plural = _PLACES["Event"]
        query = {"fieldSelector": f"involvedObject.uid={uid},type=Warning", "limit": "50"}
        found = await self._request("GET", f"/{place}/namespaces/{namespace}/{plural}", "Event", query=query)
        return list(found.get("items", ()))

    async def served(self, group: str) -> str:
        """The version of this API group that the cluster prefers; empty where it does not know the group."""
        try:
            found = await self._request("GET", f"/apis/{group}", "APIGroup")
        except NotFound:
            return ""
        return str(found["preferredVersion"]["version"])

    async def labelled(self, path: str, kind: str, selector: str) -> list[Manifest]:
        """What of the list at `path`, whose items are of `kind`, has these labels."""
        found = await self._request("GET", f"/{path}", kind, query={"labelSelector": selector})
        return list(found.get("items", ()))

    async def may_list(self, kind: str, namespace: str) -> str:
        """Why objects of `kind` cannot be listed in `namespace` (empty: in the cluster); empty when they can.

        Raises OperatorError where the API server does not say.
        """
        place, plural = _PLACES[kind]
        path = f"/{place}/namespaces/{namespace}/{plural}" if namespace else f"/{place}/{plural}"
        try:
            # NB: without a resourceVersion, with which the API server heeds no limit and sends all there are.
            await self._request("GET", path, kind, query={"limit": "1"})
        except NotFound:
            return "the API server does not know this kind; apply the CRDs"
        except Forbidden as error:
            return str(error)
        return ""

    async def delete(self, kind: str, namespace: str, name: str, uid: str, *, force: bool = False) -> None:
        """Deletes the object with this UID and its dependents after it; one that is gone already is deleted."""
        body: dict[str, Any] = {"preconditions": {"uid": uid}, "propagationPolicy": "Background"}
        if force:
            body["gracePeriodSeconds"] = 0
        path = _path({"kind": kind, "metadata": {"name": name, "namespace": namespace}})
        try:
            await self._request("DELETE", path, kind, body=body)
        except (NotFound, Conflict):
            # NB: a conflict is another object under this name, which nobody asked to delete.
            return

    async def annotate_pod(self, namespace: str, name: str, uid: str, annotations: Mapping[str, str]) -> None:
        """Sets annotations of the pod with this UID; one that is gone needs none."""
        metadata = {"name": name, "namespace": namespace, "uid": uid, "annotations": dict(annotations)}
        manifest = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
        try:
            await self._apply(manifest, _path(manifest), c.MANAGER)
        except (NotFound, Conflict):
            # NB: a conflict is another pod under this name, which has read the newest of all at its start.
            return

    async def fail_pod(self, namespace: str, name: str, uid: str, message: str) -> None:
        """Writes phase Failed and the condition DisruptionTarget, as Kubernetes' own pod garbage collector does."""
        await self._disrupt(namespace, name, uid, ("NodeLost", message), phase="Failed")

    async def excuse_pod(self, namespace: str, name: str, uid: str, message: str) -> None:
        """Writes the condition DisruptionTarget alone: however the pod ends, its Job does not count it as a failure."""
        await self._disrupt(namespace, name, uid, ("DeletedByRequest", message))

    async def _disrupt(
        self, namespace: str, name: str, uid: str, why: tuple[str, str], **status: str
    ) -> None:
        condition = {
            "type": "DisruptionTarget",
            "status": "True",
            "reason": why[0],
            "message": why[1],
            "lastTransitionTime": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        }
        manifest = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"name": name, "namespace": namespace, "uid": uid},
            "status": {**status, "conditions": [condition]},
        }
        try:
            await self._apply(manifest, f"{_path(manifest)}/status", c.MANAGER)
        except (NotFound, Conflict):
            # NB: a conflict is another pod under this name; ours is gone, which is all that was asked for.
            return

    async def event(self, job: Manifest, event: Event) -> None:
        """Tells `event` about `job` once: its name is made of what it says, so that a repeated pass repeats
        nothing.
        """
        try:
            await self.create(event_manifest(job, event, datetime.now(UTC)))
        except Conflict:
            return

    async def namespace_ends(self, job: Manifest) -> bool:
        """Whether the namespace of `job` (its metadata) is being deleted: nothing can be made in it any more."""
        probe = event_manifest(
            job, Event(c.EventReason.ACCEPTED, "may anything be made here?"), datetime.now(UTC)
        )
        path, _ = _path(probe).rsplit("/", 1)
        try:
            await self._request("POST", path, "Event", body=probe, query={"dryRun": "All"})
        except NamespaceEnds:
            return True
        return False

    async def _apply(self, manifest: Manifest, path: str, manager: str, *, dry_run: bool = False) -> Manifest:
        query = {"fieldManager": manager, "force": "true"} | ({"dryRun": "All"} if dry_run else {})
        return await self._request("PATCH", path, manifest["kind"], body=manifest, query=query, content=APPLY)

    async def _request(
        self,
        method: str,
        path: str,
        kind: str,
        *,
        body: Manifest | None = None,
        query: Mapping[str, str] | None = None,
        content: str = "application/json",
    ) -> Manifest:
        if method != "GET" and not self.may_write():
            raise LeaseLost(f"{method} {path}: not sent, another process may lead")
        headers = {"Content-Type": content, "Accept": "application/json"}
        request = await self.api.param_serialize(
            method=method,
            resource_path=path,
            query_params=list((query or {}).items()),
            header_params=headers,
            body=_yaml(body) if content == APPLY else body,
            auth_settings=["BearerToken"],
        )
        code = 0
        try:
            answer = await self.api.call_api(*request, _request_timeout=self.timeout_seconds)
            text = await answer.read()
            code = answer.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise Transient(f"{method} {path}: {error or type(error).__name__}") from error
        finally:
            self.on_request(
                "DRYRUN" if query and "dryRun" in query else method, _PLACES.get(kind, ("", kind))[1], code
            )
        if code >= 400:
            raise refusal(code, text, answer.headers.get("Retry-After"), f"{method} {path}")
        return cast(Manifest, json.loads(text))


def event_manifest(job: Manifest, event: Event, now: datetime) -> Manifest:
    """A core/v1 Event. `job` is its metadata: name, namespace, uid, generation."""
    says = json.dumps([job["uid"], job["generation"], event.reason, event.message])
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    place = {"namespace": job["namespace"], "name": job["name"], "uid": job["uid"]}
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {
            "name": f"{job['name']}.{hashlib.sha256(says.encode()).hexdigest()[:16]}",
            "namespace": job["namespace"],
        },
        "involvedObject": {"apiVersion": c.API_VERSION, "kind": c.KIND, **place},
        "type": "Warning" if event.warning else "Normal",
        "reason": event.reason.value,
        "message": event.message[:1024],
        "source": {"component": c.MANAGER},
        "firstTimestamp": moment,
        "lastTimestamp": moment,
        "count": 1,
    }


def _yaml(manifest: Manifest | None) -> str:
    """As JSON that the API server's YAML reader takes for what it means.

    NB: that reader refuses escaped surrogate pairs, as `json.dumps` writes an emoji, and folds some raw characters like
    line ends. So characters beyond 16 bits stand as they are, and all others beyond ASCII are escaped. Handed to the
    client as text with a charset in its content type, for it would dump a mapping by itself.
    """
    text = json.dumps(manifest, ensure_ascii=False)
    return re.sub("[\x7f-\uffff]", lambda found: _escaped(ord(found[0])), text)


def _escaped(point: int) -> str:
    return "\\ufffd" if 0xD800 <= point <= 0xDFFF else f"\\u{point:04x}"


def _path(manifest: Manifest) -> str:
    kind, metadata = manifest["kind"], manifest["metadata"]
    # The kinds of gang schedulers live in two groups; their manifests say which.
    place, plural = _PLACES.get(kind) or (f"apis/{manifest['apiVersion']}", f"{kind.lower()}s")
    return f"/{place}/namespaces/{metadata['namespace']}/{plural}/{metadata['name']}"
