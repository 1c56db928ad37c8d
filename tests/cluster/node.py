"""One node: a machine inside the machine, made of namespaces, with containerd, kube-proxy and a kubelet.

A node has its own network, mounts and process numbers, so ending its process 1 is a power cut: nothing of it
stays, in the kernel or on the machine, and its disk (a folder) is all that a restart finds. kind does the
same with a container engine. What runs inside is in node_init.sh.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.cluster import cgroups, network
from tests.cluster.binaries import find
from tests.cluster.debian import CNI_PLUGINS, PAUSE
from tests.cluster.layout import HERE, SERVICE_DNS, STARTUP_SECONDS, Node
from tests.cluster.processes import Processes, owned_by
from tests.cluster.shell import ClusterError, run, succeeds, wait_until

_CONTROL_PLANE = 1024
"""MiB that half of the control plane, the node's own processes and the tests use."""
_CONTAINERD = f"""\
version = 2
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE}"
  restrict_oom_score_adj = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "@DISK@/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def prepare(node: Node) -> None:
    """Write the node's configuration to its disk."""
    (node.disk / "cni").mkdir(parents=True)
    (node.disk / "containerd.toml").write_text(_CONTAINERD.replace("@DISK@", str(node.disk)))
    (node.disk / "cni" / "10-pods.conflist").write_text(json.dumps(_pod_network(node)))
    (node.disk / "resolv.conf").write_text(f"nameserver {SERVICE_DNS}\n")
    (node.disk / "kubelet.json").write_text(json.dumps(_kubelet(node)))


def power_on(node: Node, others: list[Node], processes: Processes, kubeconfig: Path) -> None:
    """Start the node's process 1 and plug its cable in; returns while the node still starts."""
    cgroups.create(node.cgroup)
    processes.start(
        node.name,
        *("unshare", "--net", "--mount", "--propagation", "private", "--pid", "--fork", "--mount-proc"),
        *(HERE / "node_init.sh", node.disk, node.name, node.address, kubeconfig),
        *(find("kubelet"), find("kube-proxy")),
        *(f"{other.pod_cidr}={other.address}" for other in others),
    )
    wait_until(
        f"process 1 of {node.name}", lambda: init_pid(node) is not None, STARTUP_SECONDS, processes.dead
    )
    network.connect(node, _running_pid(node))


def power_off(node: Node) -> None:
    """SIGKILL everything of the node at once and take its network away; no harm if it is off."""
    pid = init_pid(node)
    if pid is not None:
        os.kill(pid, signal.SIGKILL)
        wait_until(f"{node.name} going down", lambda: init_pid(node) is None, 20)
    network.disconnect(node)
    cgroups.remove(node.cgroup)


def init_pid(node: Node) -> int | None:
    """The pid, as this machine counts, of the node's process 1; None while the node is off."""
    for pid in owned_by(node.state):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except OSError:  # ended meanwhile
            continue
        numbers = next(line for line in status.splitlines() if line.startswith("NSpid:")).split()[1:]
        if numbers[1:] == ["1"] and str(node.disk).encode() in command:
            return pid
    return None


def load(node: Node, archive: Path) -> None:
    """Import an image archive (docker or OCI format) into the node; ClusterError if the node is off."""
    inside = _inside(node)
    run("sh", "-c", 'exec "$@" < "$0"', archive, *inside, "ctr", "-n", "k8s.io", "images", "import", "-")


def load_first(node: Node, archives: list[Path]) -> None:
    """What a new node needs before its kubelet may start; nothing to do when its disk already has it."""
    done = node.disk / "images-loaded"
    if not done.exists():
        answers = lambda: succeeds(*_inside(node), "ctr", "version")  # noqa: E731
        wait_until(f"containerd on {node.name}", answers, STARTUP_SECONDS)
        for archive in archives:
            load(node, archive)
        done.touch()


def share_memory(node: Node, folder: Path) -> Path:
    """Mount a tmpfs of the node's own at `folder`, unless it has one; answers where this machine sees it."""
    folder.mkdir(parents=True, exist_ok=True)
    if not succeeds(*_inside(node), "mountpoint", "-q", folder):
        run(*_inside(node), "mount", "-t", "tmpfs", "-o", "size=256m,mode=1777", "asgd-memory", folder)
    return Path(f"/proc/{_running_pid(node)}/root{folder}")


def _inside(node: Node) -> tuple[str, ...]:
    return ("nsenter", "--target", str(_running_pid(node)), "--mount", "--net", "--pid", "--")


def _running_pid(node: Node) -> int:
    pid = init_pid(node)
    if pid is None:
        raise ClusterError(
            f"{node.name} is off: start it with `start-node {node.name}`, or the cluster with `up`"
        )
    return pid


def _pod_network(node: Node) -> dict[str, object]:
    """CNI: each pod has its own cable to the node, which routes; leases in /run end with a power cut."""
    addresses = {
        "type": "host-local",
        "ranges": [[{"subnet": node.pod_cidr}]],
        "routes": [{"dst": "0.0.0.0/0"}],
        "dataDir": "/run/cni-leases",
    }
    plugins = [
        {"type": "ptp", "ipam": addresses},
        {"type": "portmap", "capabilities": {"portMappings": True}},
    ]
    return {"cniVersion": "0.4.0", "name": "pods", "plugins": plugins}


def _memory_of_others() -> int:
    """Of this machine's memory in MiB, what this node does not offer: the other one's half, and the control plane's."""
    total = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 20
    return total // 2 + _CONTROL_PLANE


def _kubelet(node: Node) -> dict[str, object]:
    """Settings of the kubelet: open to the cluster, no eviction for a full disk, no image removal."""
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "cgroupDriver": "cgroupfs",
        "cgroupRoot": f"/{node.cgroup}",
        "failSwapOn": False,
        "failCgroupV1": False,
        "containerRuntimeEndpoint": "unix:///run/containerd/containerd.sock",
        "authentication": {"anonymous": {"enabled": True}, "webhook": {"enabled": False}},
        "authorization": {"mode": "AlwaysAllow"},
        "clusterDNS": [SERVICE_DNS],
        "clusterDomain": "cluster.local",
        "resolvConf": str(node.disk / "resolv.conf"),
        "evictionHard": {"memory.available": "100Mi"},
        "systemReserved": {"memory": f"{_memory_of_others()}Mi"},
        "imageGCHighThresholdPercent": 100,
        "localStorageCapacityIsolation": False,
        "nodeStatusUpdateFrequency": "5s",
        "makeIPTablesUtilChains": False,
    }
