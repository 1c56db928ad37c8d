"""etcd, kube-apiserver, kube-controller-manager and kube-scheduler as plain processes of the machine.

Both tiers use this module; they differ only in the address and in what the node tier adds (`api_flags`).
Each part is started when the one that it talks to answers: on a busy machine a controller manager that
finds no API server within 10 s ends, and nobody starts it again.
Timers that a test would wait for (a lost node, the autoscaler) are shortened here and listed in README.md.
"""

from __future__ import annotations

import socket
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import pki
from tests.cluster.binaries import find
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import SERVICE_API, SERVICE_CIDR, STARTUP_SECONDS
from tests.cluster.processes import Processes
from tests.cluster.shell import wait_until

_CONTROLLER_TIMERS = (
    "--node-monitor-grace-period=20s",
    "--horizontal-pod-autoscaler-sync-period=5s",
    "--horizontal-pod-autoscaler-downscale-stabilization=15s",
    "--horizontal-pod-autoscaler-initial-readiness-delay=5s",
    "--horizontal-pod-autoscaler-cpu-initialization-period=15s",
)


@dataclass(frozen=True)
class ControlPlane:
    """Where one control plane listens and keeps its files."""

    processes: Processes
    address: str
    port: int
    api_flags: tuple[str, ...] = ()

    @property
    def kubeconfig(self) -> Path:
        return self.processes.state / "admin.kubeconfig"

    @property
    def pki(self) -> Path:
        return self.processes.state / "pki"

    @property
    def kubectl(self) -> Kubectl:
        return Kubectl(self.kubeconfig, cache=self.processes.state / "kubectl")

    def start(self) -> None:
        """Start all four; return when the API server is ready and `default` has its service account."""
        token = pki.create(self.pki, [self.address, "127.0.0.1", SERVICE_API])
        server = f"https://{self.address}:{self.port}"
        pki.write_kubeconfig(self.kubeconfig, server, self.pki / "ca.crt", token)
        kubectl = self.kubectl
        port = self._start_etcd()
        self._wait("etcd", lambda: _listens(port))
        self._start_api_server(f"http://127.0.0.1:{port}")
        self._wait("the API server", lambda: kubectl.succeeds("get", "--raw", "/readyz"))
        self._start_controllers()
        self._wait("the default account", lambda: kubectl.succeeds("get", "serviceaccount", "default"))

    def _wait(self, what: str, ready: Callable[[], bool]) -> None:
        wait_until(what, ready, STARTUP_SECONDS, self.processes.dead)

    def _start_etcd(self) -> int:
        port, *_ = ports = free_ports(2)
        client, peer = (f"http://127.0.0.1:{each}" for each in ports)
        self.processes.start(
            *("etcd", find("etcd"), "--data-dir", self.processes.state / "etcd", "--unsafe-no-fsync"),
            *("--listen-client-urls", client, "--advertise-client-urls", client),
            *("--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer),
            *("--initial-cluster", f"default={peer}", "--log-level", "warn"),
        )
        return port

    def _start_api_server(self, etcd: str) -> None:
        self.processes.start(
            *("kube-apiserver", find("kube-apiserver"), f"--etcd-servers={etcd}"),
            *(f"--bind-address={self.address}", f"--secure-port={self.port}"),
            *(f"--tls-cert-file={self.pki}/api.crt", f"--tls-private-key-file={self.pki}/api.key"),
            *(f"--client-ca-file={self.pki}/ca.crt", f"--token-auth-file={self.pki}/tokens.csv"),
            *("--authorization-mode=RBAC", "--allow-privileged", "--profiling=false"),
            f"--service-cluster-ip-range={SERVICE_CIDR}",
            "--service-account-issuer=https://kubernetes.default.svc",
            f"--service-account-key-file={self.pki}/sa.key",
            f"--service-account-signing-key-file={self.pki}/sa.key",
            *self.api_flags,
        )

    def _start_controllers(self) -> None:
        common = (f"--kubeconfig={self.kubeconfig}", "--leader-elect=false", "--bind-address=127.0.0.1")
        manager, scheduler = free_ports(2)
        self.processes.start(
            *(
                "kube-controller-manager",
                find("kube-controller-manager"),
                *common,
                f"--secure-port={manager}",
            ),
            f"--service-account-private-key-file={self.pki}/sa.key",
            *(f"--root-ca-file={self.pki}/ca.crt", "--use-service-account-credentials"),
            *_CONTROLLER_TIMERS,
        )
        self.processes.start("kube-scheduler", find("kube-scheduler"), *common, f"--secure-port={scheduler}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nothing listens on now."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports
