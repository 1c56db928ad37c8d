"""Reduces live objects to the few fields that the plan reads; this is all that the operator keeps of them.

A thousand pods are a thousand small tuples. Bodies are read as the API writes them: what is absent has its
default.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from asgd import exitcodes
from asgd.spec.quoted import newest
from asgd_operator import constants as c
from asgd_operator.plan import times
from asgd_operator.plan.model import BatchJob, Child, End, Init, Node, Pod, ServerSet

Body = Mapping[str, Any]
QUOTED_MOST = 300
"""Characters of what others say that a sentence of ours quotes."""
LAST_LINES_MOST = 1024
"""Characters that are kept of what a container printed before it failed."""
COMPLAINTS = frozenset({"FailedCreate", "FailedMount", "FailedAttachVolume", "FailedCreatePodSandBox"})
"""Reasons of Events by which controllers and kubelets say that a pod cannot come about."""
EDITORS_MOST = 8
_OURS = (c.MANAGER, c.LIVE_MANAGER)
_INDEX_LABELS = ("apps.kubernetes.io/pod-index", "batch.kubernetes.io/job-completion-index")


def owner_uid(body: Body) -> str:
    """UID of the AsgdJob that controls this object; empty where none does."""
    return str(_owner(body).get("uid", ""))


def owner_name(body: Body) -> str:
    """Its name. Never to tell whose an object is: names come again."""
    return str(_owner(body).get("name", ""))


def _owner(body: Body) -> Body:
    for owner in body["metadata"].get("ownerReferences", ()):
        if (
            owner.get("controller")
            and owner["kind"] == c.KIND
            and owner["apiVersion"].startswith(f"{c.GROUP}/")
        ):
            found: Body = owner
            return found
    return {}


def workload_of_pod(body: Body) -> str:
    """UID of the StatefulSet or Job of ours that made a pod; empty for a pod that only wears our labels.

    NB: by its UID, for a job that was deleted and made again under its name has workloads of the same names, and must
    not be judged by the pods that are left of the former one.
    """
    metadata = body["metadata"]
    labels = metadata.get("labels", {})
    name = f"{labels.get(c.JOB_LABEL, '')}-{labels.get(c.ROLE_LABEL, '')}"
    for owner in metadata.get("ownerReferences", ()):
        if owner.get("controller") and owner["kind"] in ("StatefulSet", "Job") and owner["name"] == name:
            return str(owner["uid"])
    return ""


@dataclass(frozen=True, slots=True)
class JobSeen:
    """An AsgdJob as it was last seen."""

    namespace: str
    name: str
    uid: str
    generation: int
    version: int
    """`metadata.resourceVersion`, to tell what is older than our own last write."""
    deleting: bool
    spec: Mapping[str, Any]
    status: Mapping[str, Any]

    @property
    def document(self) -> dict[str, Any]:
        metadata = {"name": self.name, "namespace": self.namespace, "uid": self.uid}
        return {"apiVersion": c.API_VERSION, "kind": c.KIND, "metadata": metadata, "spec": self.spec}


def job(body: Body) -> JobSeen:
    metadata = body["metadata"]
    version = metadata.get("resourceVersion", "0")
    return JobSeen(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        generation=metadata.get("generation", 0),
        version=int(version) if version.isdigit() else 0,
        deleting="deletionTimestamp" in metadata,
        spec=body.get("spec", {}),
        status=body.get("status", {}),
    )


def child(body: Body) -> Child:
    """A supporting child."""
    return Child(kind=body["kind"], **_common(body))


def server_set(body: Body) -> ServerSet:
    status = body.get("status", {})
    return ServerSet(
        **_common(body),
        replicas=body.get("spec", {}).get("replicas", 1),
        ready=status.get("readyReplicas", 0),
    )


def batch_job(body: Body) -> BatchJob:
    spec, status = body.get("spec", {}), body.get("status", {})
    template = spec.get("template", {})
    ends = {item["type"]: item for item in status.get("conditions", ()) if item.get("status") == "True"}
    failed, complete = ends.get("Failed"), ends.get("Complete")
    return BatchJob(
        **_common(body),
        parallelism=spec.get("parallelism", 1),
        completions=spec.get("completions", 0),
        suspended=bool(spec.get("suspend")),
        in_place=any(
            gate["name"] == c.ELASTIC_GATE for gate in template.get("spec", {}).get("schedulingGates", ())
        ),
        used=c.SLICE_ANNOTATION in (template.get("metadata", {}).get("annotations") or {}),
        active=status.get("active", 0),
        ready=status.get("ready", 0),
        succeeded=status.get("succeeded", 0),
        failed=status.get("failed", 0),
        failed_indexes=count_indexes(status.get("failedIndexes", "")),
        complete=complete is not None,
        failure=(failed.get("reason", ""), failed.get("message", "")) if failed else None,
        finished_at=times.read((failed or complete or {}).get("lastTransitionTime")),
    )


def count_indexes(text: str) -> int:
    """How many indices `1,3-5` names."""
    total = 0
    for part in filter(None, text.split(",")):
        first, _, last = part.partition("-")
        total += int(last or first) - int(first) + 1
    return total


def pod(body: Body) -> Pod:
    metadata, status = body["metadata"], body.get("status", {})
    labels = metadata.get("labels", {})
    containers = [item for item in status.get("containerStatuses", ()) if item["name"] == c.CONTAINER]
    conditions = {item["type"]: item for item in status.get("conditions", ())}
    end = next(_ends(containers), {})
    wait = next((wait for item in containers if (wait := _waiting(item))), {})
    return Pod(
        name=metadata["name"],
        uid=metadata["uid"],
        role=labels.get(c.ROLE_LABEL, ""),
        index=next((int(labels[label]) for label in _INDEX_LABELS if labels.get(label, "").isdigit()), -1),
        phase=status.get("phase", "Pending"),
        ready=_ready(conditions.get("Ready", {}), status),
        node=body.get("spec", {}).get("nodeName", ""),
        address=status.get("podIP", ""),
        created=times.read(metadata.get("creationTimestamp")),
        deletion=times.read(metadata.get("deletionTimestamp")),
        restarts=sum(item.get("restartCount", 0) for item in containers),
        exit_code=_exit_code(end),
        ended=str(end.get("reason", "")),
        last_words=bounded(str(end.get("message", "")), last=True),
        waiting=str(wait.get("reason", "")),
        waits_for=bounded(str(wait.get("message", ""))),
        init=next(_failing(status.get("initContainerStatuses", ())), None),
        end=_bad_end([item for item in _containers(status) if item["name"] != c.PAGE_CONTAINER]),
        unschedulable=_reason(conditions, "PodScheduled", "False") == "Unschedulable",
        unscheduled=bounded(str(conditions.get("PodScheduled", {}).get("message", ""))),
        gated=_reason(conditions, "PodScheduled", "False") == "SchedulingGated",
        disrupted=conditions.get("DisruptionTarget", {}).get("status") == "True",
    )


def node(body: Body) -> Node | None:
    """None for a node that has not said yet whether it is ready."""
    for item in body.get("status", {}).get("conditions", ()):
        if item["type"] == "Ready" and (since := times.read(item.get("lastTransitionTime"))):
            return Node(item["status"] == "True", since)
    return None


def _common(body: Body) -> dict[str, Any]:
    metadata = body["metadata"]
    marks = metadata.get("annotations", {})
    return {
        "name": metadata["name"],
        "uid": metadata["uid"],
        "spec_hash": marks.get(c.SPEC_HASH, ""),
        "rendered_hash": marks.get(c.RENDERED_HASH, ""),
        "deleting": "deletionTimestamp" in metadata,
        "version": metadata.get("resourceVersion", ""),
        "owned": owned(body),
        "editors": _editors(metadata),
    }


def owned(body: Body) -> str:
    """What of an object is the operator's by the API server's own book; empty where it keeps none.

    NB: interned, for the children of all jobs of one shape have the same.
    """
    book = body["metadata"].get("managedFields")
    if not book:
        return ""
    mine = (item for item in book if item.get("manager") == c.MANAGER and item.get("operation") == "Apply")
    entry: Body = next((item for item in mine if not item.get("subresource")), {})
    return _fields(entry)


def _editors(metadata: Body) -> tuple[tuple[str, str], ...]:
    book = metadata.get("managedFields", ())
    others = [item for item in book if item.get("manager") not in _OURS and not item.get("subresource")]
    others.sort(key=lambda item: str(item.get("time", "")), reverse=True)
    return tuple((str(item.get("manager", "")), _fields(item)) for item in others[:EDITORS_MOST])


def _fields(entry: Body) -> str:
    # NB: kopf hands out views of its own, which `json` does not know.
    return sys.intern(json.dumps(_plain(entry.get("fieldsV1", {})), sort_keys=True, separators=(",", ":")))


def _plain(value: Any) -> Any:
    return {key: _plain(item) for key, item in value.items()} if isinstance(value, Mapping) else value


def _ends(containers: list[Body]) -> Iterator[Body]:
    """NB: a running container's former end counts, or a crash would be forgotten with the restart."""
    for item in containers:
        for state in (item.get("state", {}), item.get("lastState", {})):
            if "terminated" in state:
                yield state["terminated"]


def _containers(status: Body) -> list[Body]:
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def _ready(condition: Body, status: Body) -> bool:
    """NB: the kubelet counts a pod as not ready while its page is away, and the server in it serves all the same."""
    if condition.get("status") == "True":
        return True
    others = [item for item in _containers(status) if item["name"] != c.PAGE_CONTAINER]
    alone = condition.get("reason") == "ContainersNotReady" and 0 < len(others) < len(_containers(status))
    return alone and all(item.get("ready") for item in others)


def _bad_end(containers: list[Body]) -> End | None:
    found = []
    for item in containers:
        for end in _ends([item]):
            finished = times.read(end.get("finishedAt"))
            if finished is not None and _exit_code(end) not in (None, 0, exitcodes.DRAINED):
                said = str(end.get("message", "")).strip()[-LAST_LINES_MOST:]
                reason = str(end.get("reason", ""))
                found.append(End(str(item["name"]), int(end["exitCode"]), finished, reason, said))
    return max(found, key=lambda end: end.finished, default=None)


def _exit_code(end: Body) -> int | None:
    return int(end["exitCode"]) if "exitCode" in end else None


def _waiting(container: Body) -> Body:
    found: Body = container.get("state", {}).get("waiting", {})
    return found if found.get("reason") else {}


def _failing(containers: Iterable[Body]) -> Iterator[Init]:
    """Init containers that do not come to a good end; not those that have not had their turn yet."""
    for item in containers:
        wait, end = _waiting(item), next(_ends([item]), {})
        hindered = wait.get("reason", "PodInitializing") not in ("PodInitializing", "ContainerCreating")
        if hindered or _exit_code(end):
            yield Init(
                name=str(item["name"]),
                waiting=str(wait.get("reason", "")),
                waits_for=bounded(str(wait.get("message", ""))),
                exit_code=_exit_code(end),
                last_words=bounded(str(end.get("message", "")), last=True),
            )


def complaint(events: Iterable[Body]) -> str:
    """What the newest of these Events says of why something cannot be made; empty when none does.

    NB: without the name of the pod, which is another with each try of a Job: what moves would be written each time.
    """
    return bounded(newest(events, COMPLAINTS))


def bounded(text: str, *, last: bool = False) -> str:
    """`text` in one line, as much of it as a condition may quote; `last`: of its end."""
    line = " ".join(text.split())
    if len(line) <= QUOTED_MOST:
        return line
    return f"... {line[-QUOTED_MOST:]}" if last else f"{line[:QUOTED_MOST]} ..."


def _reason(conditions: Mapping[str, Body], kind: str, status: str) -> str:
    found = conditions.get(kind, {})
    return str(found.get("reason", "")) if found.get("status") == status else ""
