"""One AsgdJob on a real cluster, seen as its user sees it: through kubectl, and through what shard 0 serves.

`paced` is the digits example slowed down by a sleep in each step, so that a job lasts until the test has done
to it what it wants; `hurry` takes the sleep out of the pods that run then.
"""

from __future__ import annotations

import json
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

ROOT = Path(__file__).resolve().parents[2]
SAMPLES = 1437
"""Of an epoch of the digits example."""
PATIENCE = 120.0
_PACED = """\
import pathlib
import time

from asgd.examples import digits

def task(seconds=0.2):
    found = digits.task(model="mlp")
    loss, hurry = found.loss, pathlib.Path("/tmp/hurry")

    def paced(model, batch):
        if not hurry.exists():
            time.sleep(seconds)
        return loss(model, batch)

    found.loss = paced
    return found
"""
Identity = tuple[str, str]


def until(check: Callable[[], Any], what: str, seconds: float = PATIENCE) -> Any:
    """The first true answer of `check`. Fails with `what` when there is none in time."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if answer := check():
            return answer
        time.sleep(0.3)
    raise AssertionError(f"waited {seconds:.0f} s in vain until {what}")


def digits(**changes: Any) -> dict[str, Any]:
    """examples/digits.yaml with the blocks of its spec in `changes` replaced."""
    found: dict[str, Any] = yaml.safe_load((ROOT / "examples" / "digits.yaml").read_text(encoding="utf-8"))
    found["spec"] |= changes
    return found


def paced(epochs: int, workers: int = 2, shards: int = 1, **changes: Any) -> dict[str, Any]:
    """Digits at five steps a second and worker."""
    spec = {
        "source": {"paced.py": _PACED},
        "entrypoint": "paced:task",
        "args": {},
        "stopAfter": {"epochs": epochs},
        "parameterServer": {"shards": shards},
        "workers": {"replicas": workers},
    }
    return digits(**(spec | changes))


@dataclass(frozen=True)
class Job:
    """The AsgdJob `name` in `namespace`."""

    kubectl: Kubectl
    name: str
    namespace: str

    def prepare(self) -> Job:
        """Its namespace, with the `restricted` standard enforced."""
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": self.namespace, "labels": labels}
        self.kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})
        return self

    def apply(self, document: dict[str, Any]) -> Job:
        document["metadata"]["name"] = self.name
        self.run("apply", "-f", "-", stdin=json.dumps(document))
        return self

    def claim(self, name: str = "models") -> dict[str, Any]:
        """Makes a claim that all servers may mount; answers the job's `checkpoint` block for it."""
        spec = {"accessModes": ["ReadWriteMany"], "resources": {"requests": {"storage": "1Gi"}}}
        metadata = {"name": name}
        claim = {"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata, "spec": spec}
        self.kubectl.apply(claim, namespace=self.namespace)
        return {"uri": "file:///checkpoints", "volume": {"pvc": name}, "everySeconds": 3}

    def run(self, *words: str, stdin: str | None = None) -> str:
        """kubectl in the job's namespace."""
        return self.kubectl("-n", self.namespace, *words, stdin=stdin)

    def edit(self, **spec: Any) -> None:
        """`kubectl patch` of the spec."""
        self.run("patch", "asgdjob", self.name, "--type=merge", "-p", json.dumps({"spec": spec}))

    @property
    def document(self) -> dict[str, Any]:
        return dict(json.loads(self.run("get", "asgdjob", self.name, "-o", "json")))

    @property
    def status(self) -> dict[str, Any]:
        return dict(self.document.get("status", {}))

    def condition(self, kind: str) -> dict[str, Any]:
        """The condition; empty while it has none."""
        return next((item for item in self.status.get("conditions", ()) if item["type"] == kind), {})

    def wait(self, condition: str, seconds: int = 240) -> None:
        """`kubectl wait`; a failed test tells what the job and its pods looked like."""
        try:
            self.kubectl.wait(
                f"asgdjob/{self.name}", f"condition={condition}", "-n", self.namespace, seconds=seconds
            )
        except ClusterError as error:
            seen = self.run("get", "asgdjobs,pods,events", "-o", "wide")
            raise AssertionError(f"{error}\n{json.dumps(self.status, indent=1)}\n{seen}") from error

    def pods(self, role: str = "") -> list[dict[str, Any]]:
        """Its pods that are not on their way out, of one role or all."""
        selector = f"asgd.dev/job-name={self.name}" + (f",asgd.dev/role={role}" if role else "")
        items = json.loads(self.run("get", "pods", "-l", selector, "-o", "json"))["items"]
        return [pod for pod in items if "deletionTimestamp" not in pod["metadata"]]

    def ready(self, role: str) -> list[dict[str, Any]]:
        """Those of a role that are ready."""
        return [pod for pod in self.pods(role) if _is_ready(pod)]

    def identities(self) -> dict[str, Identity]:
        """Pod -> (UID, start time of its container) of all that run."""
        return {pod["metadata"]["name"]: _identity(pod) for pod in self.pods() if _is_ready(pod)}

    def trains_with(self, workers: int) -> None:
        """Wait until so many workers, and no others, are ready and known to shard 0."""
        until(
            lambda: (
                len(self.ready("worker")) == len(self.pods("worker")) == workers and self._heard() == workers
            ),
            f"{workers} workers train",
        )

    def _heard(self) -> int:
        return sum(worker["state"] == "running" for worker in self.told().get("workers", ()))

    def told(self) -> dict[str, Any]:
        """What shard 0 says of the training: the trainer's own summary; empty while it does not answer."""
        servers = {pod["metadata"]["name"]: pod["status"].get("podIP", "") for pod in self.pods("server")}
        address = servers.get(f"{self.name}-server-0", "")
        try:
            with urllib.request.urlopen(f"http://{address}:9090/status", timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            return {}

    def updates(self) -> int:
        return int(self.told().get("updates", 0))

    def hurry(self) -> None:
        """Let the paced workers that run now go as fast as they can."""
        for pod in self.ready("worker"):
            self.run("exec", pod["metadata"]["name"], "--", "touch", "/tmp/hurry")

    def events(self) -> set[str]:
        """Reasons of the Events about this job."""
        return {item["reason"] for item in self.told_events()}

    def told_events(self) -> list[dict[str, Any]]:
        """The Events about this job."""
        items = json.loads(self.run("get", "events", "-o", "json"))["items"]
        return [item for item in items if item["involvedObject"]["kind"] == "AsgdJob"]

    def delete(self) -> None:
        """Remove it, and wait for its pods: the machine is small."""
        self.run("delete", "asgdjob", self.name, "--ignore-not-found")
        until(
            lambda: "No resources" in self.run("get", "pods") or not self.run("get", "pods", "--no-headers"),
            "its pods are gone",
        )


def _is_ready(pod: dict[str, Any]) -> bool:
    return any(i["type"] == "Ready" and i["status"] == "True" for i in pod["status"].get("conditions", ()))


def _identity(pod: dict[str, Any]) -> Identity:
    (container,) = (item for item in pod["status"]["containerStatuses"] if item["name"] == "asgd")
    return pod["metadata"]["uid"], container["state"]["running"]["startedAt"]
