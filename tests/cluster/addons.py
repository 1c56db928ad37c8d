"""What a usable cluster has besides its control plane: DNS, volumes, resource metrics.

CoreDNS and metrics-server run as processes of the machine, found through Services without selectors, so they
cost no image. Volumes are folders on the machine that both nodes see, which is what a network file system
would be.
"""

from __future__ import annotations

from typing import Any

from tests.cluster.binaries import find
from tests.cluster.controlplane import ControlPlane
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import GATEWAY, MANIFESTS

VOLUMES = 64
_ZONE = """.:53 {{
  bind {address}
  errors
  kubernetes cluster.local in-addr.arpa {{
    kubeconfig {kubeconfig} test
    ttl 1
  }}
  cache 1
}}
"""


def start(plane: ControlPlane) -> None:
    """Start DNS and metrics-server and create the default StorageClass with its volumes."""
    state, processes = plane.processes.state, plane.processes
    (state / "Corefile").write_text(_ZONE.format(address=GATEWAY, kubeconfig=plane.kubeconfig))
    processes.start("coredns", find("coredns"), "-conf", state / "Corefile")
    processes.start(
        *("metrics-server", find("metrics-server"), f"--kubeconfig={plane.kubeconfig}"),
        *(
            f"--authentication-kubeconfig={plane.kubeconfig}",
            f"--authorization-kubeconfig={plane.kubeconfig}",
        ),
        *(f"--bind-address={GATEWAY}", "--secure-port=4443", f"--cert-dir={state}/metrics-pki"),
        *(
            "--kubelet-insecure-tls",
            "--kubelet-preferred-address-types=InternalIP",
            "--metric-resolution=10s",
        ),
        "--kubelet-request-timeout=5s",
    )
    for manifest in ("dns.yaml", "metrics.yaml"):
        plane.kubectl("apply", "-f", str(MANIFESTS / manifest))
    add_volumes(plane, 1, VOLUMES)


def add_volumes(plane: ControlPlane, first: int, last: int) -> None:
    """Volumes `volume-FIRST` ... `volume-LAST` of the class `standard`, open to any user on any node."""
    folder = plane.processes.state / "volumes"
    names = [f"volume-{number}" for number in range(first, last + 1)]
    for name in names:
        (folder / name).mkdir(parents=True)
        (folder / name).chmod(0o777)
    plane.kubectl.apply(_storage_class(), *(_volume(name, f"{folder}/{name}") for name in names))


def set_gpus(kubectl: Kubectl, node: str, count: int) -> None:
    """Let `node` advertise `count` nvidia.com/gpu; the scheduler and the kubelet then count them for real."""
    patch = f'[{{"op": "add", "path": "/status/capacity/nvidia.com~1gpu", "value": "{count}"}}]'
    kubectl("patch", "node", node, "--subresource=status", "--type=json", "-p", patch)


def _storage_class() -> dict[str, Any]:
    default = {"storageclass.kubernetes.io/is-default-class": "true"}
    return {
        "apiVersion": "storage.k8s.io/v1",
        "kind": "StorageClass",
        "metadata": {"name": "standard", "annotations": default},
        "provisioner": "kubernetes.io/no-provisioner",
        "volumeBindingMode": "WaitForFirstConsumer",
    }


def _volume(name: str, path: str) -> dict[str, Any]:
    any_node = [{"key": "kubernetes.io/os", "operator": "In", "values": ["linux"]}]
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "storageClassName": "standard",
            "capacity": {"storage": "100Gi"},
            "accessModes": ["ReadWriteOnce", "ReadWriteMany", "ReadOnlyMany"],
            "persistentVolumeReclaimPolicy": "Retain",
            "local": {"path": path},
            "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": any_node}]}},
        },
    }
