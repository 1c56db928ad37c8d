"""Kubernetes' own HPA controller moves an AsgdJob by an external metric; KEDA's CRD takes the docs' ScaledObject.

prometheus-adapter cannot be had, so its part is played: an HTTPS server of external.metrics.k8s.io behind the real
aggregation layer, with one figure that the test sets.
"""

from __future__ import annotations

import http.server
import json
import re
import ssl
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.acting import Job, until
from tests.cluster import pki
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import MANIFESTS
from tests.cluster.shell import ClusterError

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy
GROUP = "external.metrics.k8s.io"
PAGE = (Path(__file__).parents[2] / "docs" / "how-to" / "autoscalers.md").read_text(encoding="utf-8")
DOCUMENTS = {
    found["kind"]: found
    for block in re.findall(r"^```yaml\n(.*?)^```", PAGE, re.M | re.S)
    if "kind" in (found := yaml.safe_load(block))
}


class Adapter:
    """Serves the external metric of the docs for the job `elastic`; `advised` is its value, None is no sample."""

    def __init__(self, folder: Path) -> None:
        self.advised: int | None = None
        adapter = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                answer = json.dumps(adapter.answer(self.path)).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(answer)))
                self.end_headers()
                self.wfile.write(answer)

            def log_message(self, format: str, *args: Any) -> None:
                return

        pki.create(folder / "pki", ["127.0.0.1"])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(folder / "pki" / "api.crt", folder / "pki" / "api.key")
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        self.port = int(self.server.server_address[1])
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, path: str) -> dict[str, Any]:
        name = "asgd_server_advised_workers"
        if name not in path:
            about = {"name": name, "namespaced": True, "singularName": "", "kind": "ExternalMetricValueList"}
            resource = about | {"verbs": ["get"]}
            version = {"groupVersion": f"{GROUP}/v1beta1", "resources": [resource]}
            return {"apiVersion": "v1", "kind": "APIResourceList"} | version
        item = {
            "metricName": name,
            "metricLabels": {},
            "timestamp": "2026-11-01T12:00:00Z",
            "value": self.advised,
        }
        asked = "asgd_dev_job_name%3Delastic" in path
        items = [item] if asked and self.advised is not None else []
        return {
            "apiVersion": f"{GROUP}/v1beta1",
            "kind": "ExternalMetricValueList",
            "metadata": {},
            "items": items,
        }


@pytest.fixture
def adapter(kubectl: Kubectl, tmp_path: Path) -> Iterator[Adapter]:
    """Registered with the API server."""
    made = Adapter(tmp_path)
    service = {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "adapter"}}
    # NB: no pod reaches this machine's loopback, and an address of it is refused as an endpoint; a name is not.
    service |= {"spec": {"type": "ExternalName", "externalName": "localhost", "ports": [{"port": made.port}]}}
    spec = {"group": GROUP, "version": "v1beta1", "insecureSkipTLSVerify": True}
    spec |= {"groupPriorityMinimum": 100, "versionPriority": 100}
    spec |= {"service": {"name": "adapter", "namespace": "default", "port": made.port}}
    registered = {"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService"}
    registered |= {"metadata": {"name": f"v1beta1.{GROUP}"}, "spec": spec}
    kubectl.apply(service, registered)
    kubectl.wait(f"apiservice/v1beta1.{GROUP}", "condition=Available")
    yield made
    kubectl("delete", "apiservice", f"v1beta1.{GROUP}")
    made.server.shutdown()
    made.server.server_close()


def test_the_hpa_of_the_docs_gives_a_job_the_workers_that_are_advised(
    kubectl: Kubectl, adapter: Adapter
) -> None:
    job = Job(kubectl, "elastic")
    job.create(workers={"replicas": 4, "maxReplicas": 16})
    # As the operator writes it: the HPA finds the size and the pods there.
    status = {"workers": {"desired": 4}, "selector": "asgd.dev/job-name=elastic"}
    words = ("-n", "elastic", "patch", "asgdjob", "elastic", "--subresource=status", "--type=merge")
    kubectl(*words, "-p", json.dumps({"status": status}))
    hpa = DOCUMENTS["HorizontalPodAutoscaler"]
    hpa["spec"]["behavior"] = {
        "scaleDown": {"stabilizationWindowSeconds": 0}
    }  # the docs' minutes are not waited for
    kubectl.apply(hpa, namespace="elastic")

    def replicas() -> int:
        return int(job.get("asgdjob", "elastic")["spec"]["workers"]["replicas"])

    def condition(kind: str) -> str:
        found = job.get("hpa", "elastic").get("status", {}).get("conditions", ())
        return next((item["status"] for item in found if item["type"] == kind), "")

    until(lambda: condition("ScalingActive") == "False", "it sees that there is no figure")
    assert replicas() == 4, "no figure moves nothing"
    for advised, expected in ((7, 7), (40, 16), (1, 2)):
        adapter.advised = advised
        until(lambda: replicas() == expected, f"{advised} advised workers give {expected}")  # noqa: B023
    assert condition("AbleToScale") == "True"


def test_keda_takes_the_scaled_object_of_the_docs(kubectl: Kubectl) -> None:
    kubectl("apply", "--server-side", "-f", str(MANIFESTS / "keda-scaledobjects.yaml"))
    kubectl.wait("crd/scaledobjects.keda.sh", "condition=Established")
    found = DOCUMENTS["ScaledObject"]
    words = ("apply", "--server-side", "--dry-run=server", "--validate=strict", "-f", "-")
    until(lambda: kubectl.succeeds("get", "scaledobjects"), "the kind is served")
    kubectl(*words, stdin=json.dumps(found))
    wrong = json.loads(json.dumps(found))
    wrong["spec"]["minReplicas"] = wrong["spec"].pop("minReplicaCount")
    with pytest.raises(ClusterError, match="minReplicas"):
        kubectl(*words, stdin=json.dumps(wrong))
    assert found["spec"]["minReplicaCount"] >= 1, "an AsgdJob has one worker at least"
