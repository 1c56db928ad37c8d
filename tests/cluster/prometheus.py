"""A real Prometheus that scrapes what the cluster's PodMonitors and ServiceMonitors select.

It runs as a process of the machine, which reaches every pod. It is not a pod, so a NetworkPolicy's rule for
the Prometheus pods is not what lets it in. `install_kinds` once, then `start` after the monitors exist.
"""

from __future__ import annotations

import json
import urllib.parse
import urllib.request
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.binaries import find
from tests.cluster.controlplane import free_ports
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import MANIFESTS
from tests.cluster.processes import Processes
from tests.cluster.scrape import scrape_configs
from tests.cluster.shell import wait_until


def install_kinds(kubectl: Kubectl) -> None:
    """Let the cluster know PodMonitor and ServiceMonitor."""
    kubectl("apply", "-f", str(MANIFESTS / "monitors.yaml"))
    for kind in ("podmonitors", "servicemonitors"):
        kubectl.wait(f"crd/{kind}.monitoring.coreos.com", "condition=Established")


@dataclass(frozen=True)
class Prometheus:
    """A running server; `url` is its address on this machine."""

    kubectl: Kubectl
    processes: Processes
    url: str

    def refresh(self) -> None:
        """Read the cluster's monitors again."""
        _configure(self.kubectl, self.processes.state)
        with urllib.request.urlopen(f"{self.url}/-/reload", data=b"", timeout=10):
            pass

    def query(self, promql: str) -> list[dict[str, Any]]:
        """The instant vector of `promql`: a list of {"metric": labels, "value": [time, text]}."""
        answer = self._get(f"/api/v1/query?query={urllib.parse.quote(promql)}")
        result: list[dict[str, Any]] = answer["data"]["result"]
        return result

    def targets(self) -> list[dict[str, Any]]:
        """What it scrapes now, with `labels`, `health` and `lastError`."""
        active: list[dict[str, Any]] = self._get("/api/v1/targets")["data"]["activeTargets"]
        return active

    def stop(self) -> None:
        self.processes.stop()

    def _get(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}{path}", timeout=10) as answer:
            return json.load(answer)


def start(kubectl: Kubectl, state: Path) -> Prometheus:
    """Start a server with its files in the new folder `state`; it dies with this process."""
    state.mkdir(parents=True)
    _configure(kubectl, state)
    (port,) = free_ports(1)
    processes = Processes(state, tied=True)
    processes.start(
        *(
            "prometheus",
            find("prometheus"),
            f"--config.file={state}/prometheus.json",
        ),
        *(
            f"--storage.tsdb.path={state}/data",
            f"--web.listen-address=127.0.0.1:{port}",
            "--web.enable-lifecycle",
        ),
    )
    server = Prometheus(kubectl, processes, f"http://127.0.0.1:{port}")
    wait_until("Prometheus", lambda: _answers(server.url), 30, processes.dead)
    return server


def _configure(kubectl: Kubectl, state: Path) -> None:
    monitors = [
        item
        for kind in ("podmonitors", "servicemonitors")
        for item in kubectl.json("get", kind, "-A")["items"]
    ]
    scrapes = scrape_configs(monitors, str(kubectl.kubeconfig))
    interval = {"scrape_interval": "5s", "scrape_timeout": "5s"}
    (state / "prometheus.json").write_text(json.dumps({"global": interval, "scrape_configs": scrapes}))


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/-/ready", timeout=2):
            return True
    except OSError:
        return False
