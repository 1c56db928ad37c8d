"""A cluster that is a dict: what an API server would answer to this package's requests, and what was asked of it."""

from __future__ import annotations

import copy
import json
import socket
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

from asgd.client.access import PLACES, Access
from asgd.client.answers import refusal

NOW = "2026-01-01T00:10:00Z"
Document = dict[str, Any]


def job(name: str = "digits", *, phase: str = "Running", **status: Any) -> Document:
    """An AsgdJob as the API server has it."""
    return {
        "apiVersion": "asgd.dev/v1alpha1",
        "kind": "AsgdJob",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "creationTimestamp": "2026-01-01T00:00:00Z",
            "managedFields": [{"manager": "kubectl"}],
        },
        "spec": {
            "entrypoint": "asgd.examples.digits:task",
            "algorithm": {"name": "asgd"},
            "workers": {"replicas": 4, "maxReplicas": 8},
            "parameterServer": {"shards": 1},
            "checkpoint": {"uri": ""},
            "metrics": {"port": 9090},
            "runPolicy": {"suspend": False},
        },
        "status": {"phase": phase, **status},
    }


def condition(kind: str, value: str = "True", reason: str = "Why", message: str = "Because.") -> Document:
    return {
        "type": kind,
        "status": value,
        "reason": reason,
        "message": message,
        "lastTransitionTime": "2026-01-01T00:09:00Z",
    }


def ended(
    name: str = "digits", end: str = "Complete", reason: str = "TargetReached", **status: Any
) -> Document:
    """A job that is Complete or Failed."""
    said = [condition(end, reason=reason, message="The stop rule epochs is met after 9 updates.")]
    phase = "Succeeded" if end == "Complete" else "Failed"
    return job(name, phase=phase, conditions=said, **status)


def pod(role: str, index: int = 0, *, of: str = "digits", phase: str = "Running", **status: Any) -> Document:
    label = {"worker": "batch.kubernetes.io/job-completion-index", "server": "apps.kubernetes.io/pod-index"}
    name = f"{of}-{role}-{index}" if role != "evaluator" else f"{of}-evaluator"
    labels = {"asgd.dev/job-name": of, "asgd.dev/role": role}
    if role in label:
        labels[label[role]] = str(index)
    running = {"name": "asgd", "restartCount": 0, "containerID": f"c-{name}", "state": {"running": {}}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "namespace": "team",
            "uid": f"uid-{name}",
            "labels": labels,
            "creationTimestamp": "2026-01-01T00:01:00Z",
        },
        "spec": {"nodeName": "node-1", "containers": [{"name": "asgd", "image": "slim"}]},
        "status": {
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True"}],
            "containerStatuses": [running],
            **status,
        },
    }


class Cluster:
    """In place of `Transport`. `asked` are (method, path, body); `served` what pods serve, `said` their logs."""

    def __init__(self, *documents: Document) -> None:
        self.objects: dict[str, Document] = {}
        self.asked: list[tuple[str, str, Any]] = []
        self.served: dict[str, bytes] = {}
        self.said: dict[str, list[bytes]] = {}
        self.packed: Callable[[str, Sequence[str]], Iterator[bytes]] = lambda pod, command: iter(())
        self.far: list[socket.socket] = []
        for document in documents:
            self.put(document)

    def access(self, **_: Any) -> Access:
        return Access(self, "team", "kind")  # type: ignore[arg-type]

    def put(self, document: Document) -> None:
        place, plural = PLACES[document["kind"]]
        namespace = document["metadata"].setdefault("namespace", "team")
        self.objects[f"/{place}/namespaces/{namespace}/{plural}/{document['metadata']['name']}"] = document

    def call(self, method: str, path: str, *, query: Any = (), body: Any = None, content: str = "") -> Any:
        self.asked.append((method, path, copy.deepcopy(body)))
        asked = dict(query)
        if method == "POST":
            name = f"{path}/{body['metadata']['name']}"
            if name in self.objects:
                raise refusal(
                    409, _status("AlreadyExists", f'asgdjobs "{body["metadata"]["name"]}" already exists')
                )
            if "dryRun" not in asked:
                self.objects[name] = {**body, "metadata": {"uid": "new", **body["metadata"]}}
            return body
        if path.endswith("/scale"):
            return {}
        if path.rpartition("/")[2] in {plural for _, plural in PLACES.values()}:
            return {"kind": "List", "apiVersion": "v1", "items": self._selected(path, asked)}
        if path not in self.objects:
            raise refusal(
                404, _status("NotFound", f'asgdjobs.asgd.dev "{path.rpartition("/")[2]}" not found')
            )
        if method == "DELETE":
            return self.objects.pop(path)
        if method == "PATCH":
            _merge(self.objects[path], body)
        return copy.deepcopy(self.objects[path])

    def _selected(self, path: str, asked: Mapping[str, Any]) -> list[Document]:
        wanted = dict(each.split("=") for each in asked.get("labelSelector", "").split(",") if each)
        found = [document for place, document in self.objects.items() if place.startswith(f"{path}/")]
        return [
            copy.deepcopy(each)
            for each in found
            if wanted.items() <= each["metadata"].get("labels", {}).items()
        ]

    def fetch(self, method: str, path: str, *, seconds: float | None = None) -> bytes:
        self.asked.append((method, path, None))
        name = unquote(path).split("/pods/")[1].split(":")[0]
        if name not in self.served:
            raise refusal(404, _status("NotFound", f'pods "{name}" not found'))
        return self.served[name]

    def lines(self, path: str, *, query: Any = (), follow: bool = False) -> Iterator[bytes]:
        name = path.split("/pods/")[1].split("/")[0]
        tail = dict(query).get("tailLines")
        yield from self.said.get(name, [])[-(tail or 1000) :]

    def execute(self, path: str, container: str, command: Sequence[str]) -> Iterator[bytes]:
        return self.packed(path.split("/pods/")[1].split("/")[0], command)

    def forward(self, path: str, port: int) -> socket.socket:
        near, far = socket.socketpair()
        self.far.append(far)
        return near


def _status(reason: str, message: str) -> bytes:
    return json.dumps({"kind": "Status", "reason": reason, "message": message}).encode()


def _merge(target: Document, change: Document) -> None:
    for key, value in change.items():
        if isinstance(value, dict):
            _merge(target.setdefault(key, {}), value)
        elif value is None:
            target.pop(key, None)
        else:
            target[key] = value
