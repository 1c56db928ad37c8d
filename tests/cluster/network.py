"""The wires of the node tier: one bridge on this machine, and a cable to the network namespace of each node.

All routing, address translation and every iptables rule of Kubernetes lives inside the nodes' namespaces and
goes with them; the machine itself gets one bridge, routes to the pods, and no rule. The cluster has no way
out to other networks, like many real ones.
"""

from __future__ import annotations

from tests.cluster.layout import BRIDGE, GATEWAY, NODE_NETWORK, Node
from tests.cluster.shell import run, succeeds

_PREFIX = NODE_NETWORK.rpartition("/")[2]


def create_bridge() -> None:
    """The switch between the machine and the nodes; the machine's end has the address GATEWAY."""
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "address", "add", f"{GATEWAY}/{_PREFIX}", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")


def connect(node: Node, init_pid: int) -> None:
    """Plug a cable into the bridge and, as `eth0`, into the namespace of the node's waiting process 1."""
    end = ("peer", "name", "eth0", "netns", str(init_pid))
    run("ip", "link", "add", node.link, "type", "veth", *end)
    run("ip", "link", "set", node.link, "master", BRIDGE, "up")
    run("ip", "route", "replace", node.pod_cidr, "via", node.address, "dev", BRIDGE)


def pull_cable(node: Node) -> None:
    """Cut `node` off: everything on it keeps running and hears nobody."""
    run("ip", "link", "set", node.link, "down")


def plug_cable(node: Node) -> None:
    """Undo `pull_cable`."""
    run("ip", "link", "set", node.link, "up")


def disconnect(node: Node) -> None:
    """Remove the node's cable, if it is there; its namespace ends with its processes."""
    _remove(node.link)


def remove_bridge() -> None:
    """Remove the bridge and with it the machine's address and routes, if it is there."""
    _remove(BRIDGE)


def _remove(link: str) -> None:
    # NB: a cable also goes by itself with the namespace at its other end, maybe at this moment.
    if not succeeds("ip", "link", "delete", link) and succeeds("ip", "link", "show", link):
        run("ip", "link", "delete", link)


def links(nodes: list[Node]) -> list[str]:
    """Names of the cluster's links that exist on this machine."""
    names = [BRIDGE, *(node.link for node in nodes)]
    return [name for name in names if succeeds("ip", "link", "show", name)]
