"""A kubelet that is played for all pods of a cluster without nodes, and a notebook of when things came about there.

For tests of many jobs: one watch and one request a pod, where `acting.Job` starts a kubectl for each.
"""

from __future__ import annotations

import base64
import http.client
import json
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import yaml

from asgd import exitcodes
from asgd_operator.constants import MANAGED_SELECTOR

Object = dict[str, Any]
READY = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}


class Client:
    """The API server that a kubeconfig names, with its token. One connection: one thread at a time."""

    def __init__(self, kubeconfig: Path) -> None:
        config = yaml.safe_load(kubeconfig.read_text(encoding="utf-8"))
        cluster = config["clusters"][0]["cluster"]
        self._authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._host = cluster["server"].removeprefix("https://")
        self._token = config["users"][0]["user"]["token"]
        self._connection: http.client.HTTPSConnection | None = None

    def request(self, method: str, path: str, body: object = None, content: str = "application/json") -> Any:
        """The answer's JSON; None where it is gone or has changed. What a busy server refuses is tried again."""
        for pause in (0.1, 0.5, 2.0, 5.0):
            answer = self._send(method, path, body, content)
            text = answer.read()
            if answer.status < 500 and answer.status != 429:
                break
            time.sleep(pause)
        if answer.status in (404, 409):
            return None
        assert answer.status < 400, f"{method} {path}: {answer.status} {text!r}"
        return json.loads(text)

    def watch(self, path: str, **query: str) -> Iterator[Object]:
        """Events of what is there now and of what comes after it, for five minutes."""
        words = urlencode({"watch": "true", "timeoutSeconds": "300", **query})
        answer = self._send("GET", f"{path}?{words}", None, "application/json")
        while line := answer.readline():
            yield json.loads(line)

    def close(self) -> None:
        if self._connection is not None and self._connection.sock is not None:
            with suppress(OSError):
                self._connection.sock.shutdown(2)

    def _send(self, method: str, path: str, body: object, content: str) -> http.client.HTTPResponse:
        if self._connection is None:
            context = ssl.create_default_context(cadata=self._authority)
            self._connection = http.client.HTTPSConnection(self._host, context=context)
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": content}
        self._connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        return self._connection.getresponse()


@dataclass
class Watcher:
    """Hears of each object of a kind in a thread of its own, until `close`."""

    kubeconfig: Path
    path: str
    told: Callable[[str, Object], None]
    selector: str = MANAGED_SELECTOR

    def __post_init__(self) -> None:
        self._over, self._client = False, Client(self.kubeconfig)
        threading.Thread(target=self._run, daemon=True).start()

    def close(self) -> None:
        self._over = True
        self._client.close()

    def _run(self) -> None:
        while not self._over:
            # NB: a watch that is shut down from another thread ends as a broken connection.
            with suppress(OSError, http.client.HTTPException, ValueError):
                self._client = Client(self.kubeconfig)
                for event in self._client.watch(self.path, labelSelector=self.selector):
                    self.told(event["type"], event["object"])


class Kubelet:
    """Has each pod of the operator's run, be ready, and answer at `address(pod)`; ends those that are deleted."""

    def __init__(self, kubeconfig: Path, address: Callable[[Object], str] = lambda pod: "127.0.0.1") -> None:
        self._client, self._address, self._seen = Client(kubeconfig), address, set[str]()
        self._watcher = Watcher(kubeconfig, "/api/v1/pods", self._told)

    def close(self) -> None:
        self._watcher.close()

    def _told(self, event: str, pod: Object) -> None:
        metadata = pod["metadata"]
        path = f"/api/v1/namespaces/{metadata['namespace']}/pods/{metadata['name']}"
        if event != "DELETED" and "deletionTimestamp" in metadata:
            self._end(path, pod)
        elif event != "DELETED" and metadata["uid"] not in self._seen and not _gated(pod):
            self._seen.add(metadata["uid"])
            status = {"phase": "Running", "podIP": self._address(pod), "conditions": [READY]}
            self._client.request(
                "PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json"
            )

    def _end(self, path: str, pod: Object) -> None:
        """NB: a Job lets go of a pod only when it has failed or succeeded."""
        of_job = pod["metadata"]["ownerReferences"][0]["kind"] == "Job"
        if of_job and pod["status"]["phase"] not in ("Failed", "Succeeded"):
            ended = {"exitCode": exitcodes.DRAINED, "finishedAt": "2026-01-01T00:00:00Z"}
            container = {"name": "asgd", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
            states = [container | {"state": {"terminated": ended}}]
            status = {"phase": "Failed", "containerStatuses": states, "conditions": []}
            self._client.request(
                "PATCH", f"{path}/status", {"status": status}, "application/merge-patch+json"
            )
        self._client.request("DELETE", path, {"gracePeriodSeconds": 0})


def _gated(pod: Object) -> bool:
    return bool(pod["spec"].get("schedulingGates"))


@dataclass
class Notebook:
    """When each job was first seen, had its first child, and was said to run; in seconds of the monotonic clock."""

    kubeconfig: Path
    applied: dict[str, float] = field(default_factory=dict)
    first_child: dict[str, float] = field(default_factory=dict)
    running: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        api, core, apps = "/apis/asgd.dev/v1alpha1/asgdjobs", "/api/v1", "/apis/apps/v1"
        self._watchers = [Watcher(self.kubeconfig, api, self._job, selector="")]
        for path in (f"{core}/configmaps", f"{core}/services", f"{apps}/statefulsets"):
            self._watchers.append(Watcher(self.kubeconfig, path, self._child))

    def close(self) -> None:
        for watcher in self._watchers:
            watcher.close()

    def waits(self, names: list[str]) -> list[float]:
        """Seconds from the application of each of these jobs to its first child."""
        return [self.first_child[name] - self.applied[name] for name in names]

    def _job(self, event: str, job: Object) -> None:
        name, now = job["metadata"]["name"], time.monotonic()
        self.applied.setdefault(name, now)
        if job.get("status", {}).get("phase") == "Running":
            self.running.setdefault(name, now)

    def _child(self, event: str, child: Object) -> None:
        name = child["metadata"]["labels"].get("asgd.dev/job-name", "")
        self.first_child.setdefault(name, time.monotonic())
