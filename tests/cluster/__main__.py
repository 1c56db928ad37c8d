"""Command line of the test cluster: `python3 -m tests.cluster COMMAND`, from the project's root.

Only reads arguments and prints; the work is in api_tier.py and node_tier.py.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.cluster import api_tier, binaries, debian, node_tier, queues
from tests.cluster.layout import api_state, cache, node_state, nodes
from tests.cluster.shell import ClusterError, say


def main() -> int:
    """Run one command; 0 when it is done, 1 with one sentence on stderr when it is not."""
    arguments = _parser().parse_args()
    began = time.monotonic()
    try:
        arguments.command(arguments)
    except ClusterError as error:
        say(f"error: {error}")
        return 1
    say(f"done in {time.monotonic() - began:.1f} s")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.cluster", description="a real Kubernetes for the tests"
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(
        name: str, action: Callable[[argparse.Namespace], None], text: str
    ) -> argparse.ArgumentParser:
        added = commands.add_parser(name, help=text, description=text)
        added.set_defaults(command=action)
        return added

    def tiered(name: str, action: Callable[[argparse.Namespace], None], text: str) -> None:
        command(name, action, text).add_argument("--tier", choices=["api", "node"], default="node")

    tiered("build", _build, "make what is missing in the cache")
    command("build-queues", lambda _: queues.build(), "make Kueue and coscheduling, for the tests of queues")
    tiered("up", _up, "start a cluster; prints shell exports to evaluate")
    tiered("down", _down, "remove the cluster and everything of it")
    tiered("kubeconfig", _kubeconfig, "print the path of the kubeconfig")
    load = command("load", _load, "import an image archive into the nodes")
    load.add_argument("archive", type=Path)
    load.add_argument("nodes", nargs="*", metavar="NODE", help="default: all")
    gpus = command("gpus", _gpus, "let a node advertise N nvidia.com/gpu")
    gpus.add_argument("count", type=int, metavar="N")
    gpus.add_argument("node", nargs="?", default="node-1")
    stop = command("stop-node", _stop_node, "cut a node's power: everything on it is gone at once")
    stop.add_argument("node")
    stop.add_argument("--partition", action="store_true", help="cut only its network: its pods keep running")
    command("start-node", _start_node, "power a stopped node on, or end its partition").add_argument("node")
    return parser


def _build(arguments: argparse.Namespace) -> None:
    if arguments.tier == "node":
        debian.install_packages()
    else:
        debian.need_openssl()
    everything = [*binaries.NODE_TIER, *binaries.BESIDE]
    binaries.build(everything if arguments.tier == "node" else binaries.API_TIER)
    if arguments.tier == "node":
        debian.image_archives()


def _up(arguments: argparse.Namespace) -> None:
    if arguments.tier == "node":
        node_tier.need_root()
    _build(arguments)
    with binaries.locked(cache() / "bin", "starts a cluster"):
        if arguments.tier == "node":
            plane = node_tier.up()
        else:
            plane = api_tier.running(api_state()) or api_tier.up(api_state())
    print(f"export KUBECONFIG={plane.kubeconfig} PATH={cache() / 'bin'}:$PATH")


def _down(arguments: argparse.Namespace) -> None:
    if arguments.tier == "node":
        node_tier.down()
    else:
        api_tier.down(api_state())


def _kubeconfig(arguments: argparse.Namespace) -> None:
    path = (node_state() if arguments.tier == "node" else api_state()) / "admin.kubeconfig"
    if not path.exists():
        raise ClusterError(f"no cluster of the tier {arguments.tier} is up")
    print(path)


def _load(arguments: argparse.Namespace) -> None:
    targets = [node_tier.named(name) for name in arguments.nodes] or nodes(node_state())
    node_tier.load(arguments.archive, targets)


def _gpus(arguments: argparse.Namespace) -> None:
    node_tier.set_gpus(node_tier.named(arguments.node), arguments.count)


def _stop_node(arguments: argparse.Namespace) -> None:
    node_tier.stop_node(node_tier.named(arguments.node), arguments.partition)


def _start_node(arguments: argparse.Namespace) -> None:
    node_tier.start_node(node_tier.named(arguments.node))


if __name__ == "__main__":
    sys.exit(main())
