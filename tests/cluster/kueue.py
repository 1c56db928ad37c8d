"""A real Kueue beside an API server: its own manifests, its own controller as a process, its webhooks called for real.

There is no kubelet to run it in a pod, so two things differ from an installation. The webhooks' Service is an
ExternalName, which the API server follows to this machine. And the certificate that Kueue makes for itself is copied
from its Secret to the folder where it waits for it, as a kubelet would mount it.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.error import URLError
from urllib.request import urlopen

import yaml

from tests.cluster.binaries import find
from tests.cluster.controlplane import free_ports
from tests.cluster.kubectl import Kubectl
from tests.cluster.processes import Processes
from tests.cluster.queues import KUEUE, KUEUE_MANIFESTS, path
from tests.cluster.shell import run, wait_until

NAMESPACE = "kueue-system"
SECRET = "kueue-webhook-server-cert"
SERVICE = "kueue-webhook-service"
FRAMEWORKS = ["batch/job", "pod", "deployment", "statefulset"]
"""Of those that are on by default, all whose kinds an empty cluster has."""
_HOOKS = ("MutatingWebhookConfiguration", "ValidatingWebhookConfiguration")
_KEPT = ("Namespace", "CustomResourceDefinition", "Secret", *_HOOKS)
_SECONDS = 60

Document = dict[str, Any]


def install(kubectl: Kubectl) -> int:
    """Apply Kueue's CRDs and webhooks; returns the port at which these will be called."""
    (port,) = free_ports(1)
    rendered = run(find("kubectl"), "kustomize", KUEUE_MANIFESTS.kept / "default")
    documents = [_here(document, port) for document in yaml.safe_load_all(rendered)]
    items = {"apiVersion": "v1", "kind": "List", "items": [item for item in documents if item]}
    # NB: twice, for what a namespace holds may come before it.
    namespaces = [item for item in documents if item and item["kind"] == "Namespace"]
    for document in (*namespaces, items):
        kubectl("apply", "--server-side", "--force-conflicts", "-f", "-", stdin=json.dumps(document))
    return port


@contextmanager
def kueue(kubectl: Kubectl, port: int, folder: Path, *gates: str) -> Iterator[None]:
    """The controller, from when it is ready on, with these feature gates on; killed at the end."""
    folder.mkdir(parents=True)
    certificates, (health,) = folder / "certificates", free_ports(1)
    certificates.mkdir()
    configuration = folder / "configuration.yaml"
    configuration.write_text(json.dumps(_configuration(port, health, certificates)))
    processes = Processes(folder, tied=True)
    wanted = ",".join(["VisibilityOnDemand=false", *(f"{gate}=true" for gate in gates)])
    processes.start(
        *("kueue", path(KUEUE), f"--kubeconfig={kubectl.kubeconfig}", f"--config={configuration}"),
        f"--feature-gates={wanted}",
    )
    try:
        wait_until("Kueue's certificate", lambda: _mount(kubectl, certificates), _SECONDS, processes.dead)
        wait_until("Kueue", lambda: _ready(health), _SECONDS, processes.dead)
        yield
    finally:
        processes.stop()


def _here(document: Document, port: int) -> Document | None:
    """A document of the installation as it is applied; None for what belongs to the pod that is not there."""
    kind, metadata = document["kind"], document["metadata"]
    if kind == "Service" and metadata["name"] == SERVICE:
        return document | {"spec": {"type": "ExternalName", "externalName": "localhost"}}
    if kind not in _KEPT:
        return None
    if kind == "CustomResourceDefinition" and "conversion" in document["spec"]:
        document["spec"]["conversion"]["webhook"]["clientConfig"]["service"]["port"] = port
    for hook in document["webhooks"] if kind in _HOOKS else ():
        hook["clientConfig"]["service"]["port"] = port
    return document


def _configuration(port: int, health: int, certificates: Path) -> Document:
    return {
        "apiVersion": "config.kueue.x-k8s.io/v1beta2",
        "kind": "Configuration",
        "health": {"healthProbeBindAddress": f"127.0.0.1:{health}"},
        "metrics": {"bindAddress": "0"},
        "webhook": {"host": "127.0.0.1", "port": port, "certDir": str(certificates)},
        "leaderElection": {"leaderElect": False},
        "integrations": {"frameworks": FRAMEWORKS},
    }


def _mount(kubectl: Kubectl, folder: Path) -> bool:
    data = kubectl.json("-n", NAMESPACE, "get", "secret", SECRET).get("data", {})
    for name, content in data.items():
        (folder / name).write_bytes(base64.b64decode(content))
    return "tls.crt" in data


def _ready(port: int) -> bool:
    try:
        with urlopen(f"http://127.0.0.1:{port}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (URLError, OSError):
        return False
