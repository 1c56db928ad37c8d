"""What the operator's tests act with: the operator as a process, and the part of a kubelet and of shard 0.

The API tier has the real controllers but no node. Tests write the pod statuses that a kubelet would write, and serve
the status that shard 0 would serve, from the trainer's own type.
"""

from __future__ import annotations

import http.server
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec

from asgd.spec.status import Status
from tests.cluster.kubectl import Kubectl

PATIENCE = 60.0
QUICK = {"QUEUE__RESYNC_SECONDS": "2"}
"""An operator that looks at all jobs again within seconds."""


def until(check: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer of `check`. Fails with `what` when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := check():
            return answer
        time.sleep(0.1)
    raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class OperatorProcess:
    port: int
    log: Path
    process: subprocess.Popen[bytes]
    ends_with: int = 0
    """The exit code that is expected of it."""

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def samples(self, name: str) -> dict[str, float]:
        """Samples of one metric by their labels as written."""
        lines = (
            line.rpartition(" ") for line in self.get("/metrics")[1].splitlines() if not line.startswith("#")
        )
        return {left[len(name) :]: float(value) for left, _, value in lines if left.split("{")[0] == name}

    def writes(self) -> float:
        """Requests that may have changed something."""
        requests = self.samples("asgd_operator_kube_requests_total")
        return sum(
            count for labels, count in requests.items() if not re.search('verb="(GET|DRYRUN)"', labels)
        )

    def passes(self) -> float:
        return sum(self.samples("asgd_operator_reconcile_total").values())


@contextmanager
def operator(
    kubectl: Kubectl, folder: Path, *, awaited: str = "/readyz", **settings: str
) -> Iterator[OperatorProcess]:
    """The operator as its users start it, from when it answers `awaited` with 200 on; it is told to stop at the end and
    must do so well.
    """
    port, log = free_port(), folder / f"operator-{time.monotonic_ns()}.log"
    given = {f"ASGD_OPERATOR_{name}": value for name, value in settings.items()}
    environment = {name: value for name, value in os.environ.items() if not name.startswith("ASGD_OPERATOR_")}
    environment |= {"KUBECONFIG": str(kubectl.kubeconfig), "ASGD_OPERATOR_PORT": str(port), **given}
    environment.pop("KUBERNETES_SERVICE_HOST", None)
    with log.open("wb") as output:
        command = [sys.executable, "-m", "asgd_operator.main", "run"]
        process = subprocess.Popen(command, env=environment, stdout=output, stderr=output)
    running = OperatorProcess(port, log, process)
    try:
        until(lambda: process.poll() is not None or running.get(awaited)[0] == 200, f"{awaited} is ok")
        assert process.poll() is None, log.read_text()
        yield running
        process.terminate()
        assert process.wait(30) == running.ends_with, log.read_text()
    finally:
        process.kill()
        process.wait()


@dataclass
class Job:
    """One AsgdJob and its children through kubectl, in a namespace of its own."""

    kubectl: Kubectl
    name: str
    metrics_port: int = 9090

    def create(self, **spec: Any) -> None:
        namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": self.name}}
        self.kubectl.apply(namespace)
        self.apply(**spec)

    def apply(self, **spec: Any) -> None:
        defaults = {"entrypoint": "m:f", "metrics": {"port": self.metrics_port}}
        manifest = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": self.name}}
        self.kubectl.apply(manifest | {"spec": defaults | spec}, namespace=self.name)

    def edit(self, **spec: Any) -> None:
        self._run("patch", "asgdjob", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    def get(self, kind: str, name: str) -> Any:
        """None where it does not exist."""
        found = self._run("get", kind, name, "--ignore-not-found", "-o", "json")
        return json.loads(found) if found else None

    def list(self, kind: str) -> list[Any]:
        return list(json.loads(self._run("get", kind, "-o", "json"))["items"])

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.get("asgdjob", self.name).get("status", {}))

    def condition(self, kind: str) -> dict[str, Any]:
        return next((item for item in self.status.get("conditions", ()) if item["type"] == kind), {})

    def phase(self, *wanted: str) -> str:
        return str(
            until(lambda: next((p for p in wanted if self.status.get("phase") == p), ""), f"it is {wanted}")
        )

    def events(self) -> list[str]:
        """Reasons of the Events on the job itself."""
        return sorted(
            item["reason"] for item in self.list("events") if item["involvedObject"]["kind"] == "AsgdJob"
        )

    def pods(self, role: str) -> list[Any]:
        return [pod for pod in self.list("pods") if pod["metadata"]["labels"].get("asgd.dev/role") == role]

    def start_pods(self, role: str, count: int) -> None:
        """As a kubelet does: the pods run and are ready, at the address of this machine."""
        found = until(lambda: len(self.pods(role)) >= count and self.pods(role), f"{count} {role} pods exist")
        for pod in found:
            ready = {"type": "Ready", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"}
            self._pod_status(pod, {"phase": "Running", "podIP": "127.0.0.1", "conditions": [ready]})

    def end_pods(
        self, role: str, phase: str, exit_code: int, message: str = "", most: int | None = None
    ) -> None:
        for pod in self.pods(role)[:most]:
            ended = {"exitCode": exit_code, "reason": "Ended", "finishedAt": "2026-01-01T00:00:00Z"}
            ended |= {"message": message} if message else {}
            container = {"name": "asgd", "image": "i", "imageID": "i", "ready": False, "restartCount": 0}
            states = [container | {"state": {"terminated": ended}}]
            self._pod_status(pod, {"phase": phase, "containerStatuses": states, "conditions": []})

    def _pod_status(self, pod: Any, status: dict[str, Any]) -> None:
        words = ("patch", "pod", pod["metadata"]["name"], "--subresource=status", "--type=merge")
        self._run(*words, "-p", json.dumps({"status": status}))

    def _run(self, *words: str) -> str:
        return self.kubectl("-n", self.name, *words)


class ShardZero:
    """Serves `/status` as shard 0 does, from the trainer's own type; tests set `status`."""

    def __init__(self, host: str = "127.0.0.1") -> None:
        self.status = Status(job="x", phase="running", algorithm="asgd")
        shard = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(msgspec.json.encode(shard.status))

            def log_message(self, format: str, *args: Any) -> None:
                return

        self._server = http.server.ThreadingHTTPServer((host, 0), Handler)
        self.port = int(self._server.server_address[1])
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


def clear(kubectl: Kubectl) -> None:
    """Jobs of earlier tests go: their shard 0 has ended with its test, and that is news for an operator."""
    kubectl("delete", "asgdjobs", "-A", "--all")
