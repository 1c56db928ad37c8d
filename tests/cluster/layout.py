"""Where things lie and which addresses are used: every fixed name of the test cluster, in one place.

The cache (binaries, image archives) outlives clusters; a state directory belongs to one cluster and goes with
it. Addresses are from 198.18.0.0/15, which RFC 2544 sets aside for tests, so they meet no real network.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
MODULES = HERE / "modules"
MANIFESTS = HERE / "manifests"

GATEWAY = "198.18.0.1"
"""The machine's own address on the cluster's bridge: API server, DNS and metrics-server listen here."""
NODE_NETWORK = "198.18.0.0/24"
SERVICE_CIDR = "198.19.0.0/24"
SERVICE_API = "198.19.0.1"
SERVICE_DNS = "198.19.0.10"
API_PORT = 6443
BRIDGE = "asgd0"
CGROUP = "asgd-cluster"
STARTUP_SECONDS = 300
"""How long one part may take to answer on a machine that is busy with builds; one that has ended is noticed at once."""
OWNER_ENV = "ASGD_CLUSTER_OWNED_BY"
"""Names the state directory in the environment of every process of a cluster: so `down` finds them."""


def cache() -> Path:
    """The folder of binaries and image archives: $ASGD_CLUSTER_CACHE or ~/.cache/asgd-cluster."""
    return Path(os.environ.get("ASGD_CLUSTER_CACHE") or Path.home() / ".cache" / "asgd-cluster")


def node_state() -> Path:
    """State of the node tier. One cluster a machine: bridge and namespace names are fixed."""
    return Path(os.environ.get("ASGD_CLUSTER_DIR") or "/var/tmp/asgd-cluster")


def api_state() -> Path:
    """State of the API tier that `up --tier api` starts; test sessions use temporary folders instead."""
    base = os.environ.get("ASGD_CLUSTER_DIR")
    return Path(f"{base}-api") if base else Path(f"/var/tmp/asgd-cluster-api-{os.getuid()}")


@dataclass(frozen=True)
class Node:
    """Names and addresses of one node, all derived from its number (1, 2, ...)."""

    number: int
    state: Path

    @property
    def name(self) -> str:
        return f"node-{self.number}"

    @property
    def link(self) -> str:
        """The node's cable: the end of its veth pair that is plugged into the bridge."""
        return f"asgd-n{self.number}"

    @property
    def address(self) -> str:
        return f"198.18.0.{10 + self.number}"

    @property
    def pod_cidr(self) -> str:
        return f"198.18.{self.number}.0/24"

    @property
    def disk(self) -> Path:
        """What a power loss does not take: images, logs, the kubelet's files."""
        return self.state / self.name

    @property
    def cgroup(self) -> str:
        return f"{CGROUP}/{self.name}"


def nodes(state: Path) -> list[Node]:
    """The two nodes of the node tier."""
    return [Node(1, state), Node(2, state)]
