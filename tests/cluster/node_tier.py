"""The node tier: control plane, two nodes that run pods, DNS, volumes, metrics. Needs root, one per machine.

`up` is idempotent: a cluster that answers is kept, what is left of one that does not is removed first. `down`
relies only on fixed names and on the mark in the processes' environment, so it works after a crash half way.
"""

from __future__ import annotations

import json
import os
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.cluster import addons, cgroups, network, node
from tests.cluster.controlplane import ControlPlane
from tests.cluster.debian import image_archives
from tests.cluster.layout import API_PORT, CGROUP, GATEWAY, STARTUP_SECONDS, Node, node_state, nodes
from tests.cluster.processes import Processes, kill_all, owned_by
from tests.cluster.shell import ClusterError, wait_until

_KERNEL_SETTINGS = ("vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops")
"""Settings of the whole machine that a kubelet changes: `down` puts them back."""


def control_plane() -> ControlPlane:
    """The node tier's control plane, running or not."""
    state = node_state()
    front = (
        f"--requestheader-client-ca-file={state}/pki/front-ca.crt",
        "--requestheader-allowed-names=front-proxy",
        "--requestheader-extra-headers-prefix=X-Remote-Extra-",
        "--requestheader-group-headers=X-Remote-Group",
        "--requestheader-username-headers=X-Remote-User",
        f"--proxy-client-cert-file={state}/pki/front.crt",
        f"--proxy-client-key-file={state}/pki/front.key",
        "--enable-aggregator-routing",
    )
    flags = (f"--advertise-address={GATEWAY}", "--kubelet-preferred-address-types=InternalIP", *front)
    return ControlPlane(Processes(state), GATEWAY, API_PORT, flags)


def is_up() -> bool:
    """Whether a whole cluster runs here: `up` came to its end, and both nodes are ready."""
    plane = control_plane()
    return _complete().exists() and all(_ready(plane, each.name) for each in nodes(node_state()))


def up() -> ControlPlane:
    """Start the cluster, or keep the one that runs; returns when both nodes are ready."""
    need_root()
    if is_up():
        return control_plane()
    down()
    plane, state = control_plane(), node_state()
    image_archives()  # before anything starts: a build on a busy machine outlasts the waits for nodes
    state.mkdir(parents=True, mode=0o700)
    _remember_kernel_settings(state)
    network.create_bridge()
    plane.start()
    for each in nodes(state):
        node.prepare(each)
    with ThreadPoolExecutor() as pool:
        addons_started = pool.submit(addons.start, plane)
        list(pool.map(start_node, nodes(state)))
        addons_started.result()
    wait_until("resource metrics", lambda: _metrics_served(plane), STARTUP_SECONDS, plane.processes.dead)
    _complete().touch()
    return plane


def down() -> None:
    """Remove processes, namespaces, links, cgroups and files of the cluster; no harm if there are none.

    ClusterError names what could not be removed.
    """
    need_root()
    state = node_state()
    kill_all(state)
    for each in nodes(state):
        network.disconnect(each)
    network.remove_bridge()
    cgroups.remove(CGROUP)
    _restore_kernel_settings(state)
    shutil.rmtree(state, ignore_errors=True)
    if left := leftovers():
        raise ClusterError(f"`down` could not remove everything: {', '.join(left)}")


def leftovers() -> list[str]:
    """What of a cluster is on this machine: processes, mounts, links, cgroups and files, each in a few words."""
    state = node_state()
    mounts = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    return [
        *(f"process {pid}" for pid in owned_by(state)),
        *(f"mount {mount}" for mount in mounts if mount.startswith(f"{state}/")),
        *(f"link {link}" for link in network.links(nodes(state))),
        *(f"cgroup {folder}" for folder in cgroups.existing(CGROUP)),
        *([f"folder {state}"] if state.exists() else []),
    ]


def named(name: str) -> Node:
    """The node called `name`; ClusterError names those there are."""
    known = nodes(node_state())
    for each in known:
        if each.name == name:
            return each
    raise ClusterError(f"there is no node {name!r}: the nodes are {', '.join(each.name for each in known)}")


def stop_node(target: Node, partition: bool = False) -> None:
    """A power cut, or with `partition` a cut cable: then its pods keep running and nobody hears them."""
    need_root()
    if partition:
        network.pull_cable(target)
    else:
        node.power_off(target)


def start_node(target: Node) -> None:
    """Power `target` on, or plug its cable in again; returns when it is ready."""
    need_root()
    _need_disk(target)
    plane = control_plane()
    before = _heard_from(plane, target.name)
    if node.init_pid(target) is not None:
        network.plug_cable(target)
    else:
        network.disconnect(target)
        others = [each for each in nodes(target.state) if each != target]
        node.power_on(target, others, plane.processes, plane.kubeconfig)
        node.load_first(target, image_archives())
    if before:  # a new node has no past from which it could look ready
        wait_until(
            f"word from {target.name}", lambda: _heard_from(plane, target.name) != before, STARTUP_SECONDS
        )
    wait_until(f"{target.name} becoming ready", lambda: _ready(plane, target.name), STARTUP_SECONDS)
    gpus = _gpu_file(target)
    if gpus.exists():
        addons.set_gpus(plane.kubectl, target.name, int(gpus.read_text()))


def set_gpus(target: Node, count: int) -> None:
    """Advertise GPUs on `target`, also after its next restart (a new kubelet starts with none)."""
    need_root()
    _need_disk(target)
    _gpu_file(target).write_text(str(count))
    addons.set_gpus(control_plane().kubectl, target.name, count)


def load(archive: Path, targets: list[Node]) -> None:
    """Import an image archive into `targets`, at the same time."""
    need_root()
    if not archive.is_file():
        raise ClusterError(f"there is no image archive {archive}")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda each: node.load(each, archive), targets))


def _complete() -> Path:
    return node_state() / "complete"


def _metrics_served(plane: ControlPlane) -> bool:
    return plane.kubectl.succeeds("get", "--raw", "/apis/metrics.k8s.io/v1beta1")


def _need_disk(target: Node) -> None:
    if not target.disk.is_dir():
        raise ClusterError("no cluster with nodes is up: run `python3 -m tests.cluster up`")


def _gpu_file(target: Node) -> Path:
    return target.disk / "gpus"


def _ready(plane: ControlPlane, name: str) -> bool:
    return plane.kubectl.succeeds("wait", "--for=condition=Ready", f"node/{name}", "--timeout=1s")


def _heard_from(plane: ControlPlane, name: str) -> str:
    """When the kubelet last renewed its lease: the Ready condition may be older than the power cut."""
    lease = ("get", "lease", name, "-n", "kube-node-lease", "--ignore-not-found")
    return plane.kubectl(*lease, "-o", "jsonpath={.spec.renewTime}")


def need_root() -> None:
    """ClusterError for any other user."""
    if os.getuid() != 0:
        raise ClusterError("the node tier needs root (namespaces, mounts, cgroups); `--tier api` does not")


def _remember_kernel_settings(state: Path) -> None:
    values = {name: Path("/proc/sys", name).read_text() for name in _KERNEL_SETTINGS}
    (state / "kernel-settings.json").write_text(json.dumps(values))


def _restore_kernel_settings(state: Path) -> None:
    remembered = state / "kernel-settings.json"
    if remembered.exists():
        for name, value in json.loads(remembered.read_text()).items():
            Path("/proc/sys", name).write_text(value)
