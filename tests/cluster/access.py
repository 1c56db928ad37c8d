"""What a test gets hold of when it asks for a cluster with nodes, and what happens when there is none.

Apart from fixtures.py so that tests can import the names without importing a pytest plugin early.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import pytest

from tests.cluster import addons, node, node_tier
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import nodes


@dataclass(frozen=True)
class Cluster:
    """A cluster with nodes. Methods that change nodes need the project's own."""

    kubectl: Kubectl
    ours: bool

    @property
    def kubeconfig(self) -> Path:
        return self.kubectl.kubeconfig

    def stop_node(self, name: str, partition: bool = False) -> None:
        """A power cut, or a cut cable, for the node `name`."""
        self._need_ours("stopping a node")
        node_tier.stop_node(node_tier.named(name), partition)

    def start_node(self, name: str) -> None:
        """Undo `stop_node`; returns when the node is ready."""
        self._need_ours("starting a node")
        node_tier.start_node(node_tier.named(name))

    def set_gpus(self, name: str, count: int) -> None:
        """Let the node `name` advertise `count` nvidia.com/gpu."""
        addons.set_gpus(self.kubectl, name, count)

    def share_memory(self, folder: Path) -> dict[str, Path]:
        """A tmpfs of its own at `folder` on each node; {node: where this machine sees it}."""
        self._need_ours("mounting memory on a node")
        return {each.name: node.share_memory(each, folder) for each in nodes(self.kubeconfig.parent)}

    def load(self, archive: Path) -> None:
        """Import an image archive into all nodes."""
        self._need_ours("loading an image")
        node_tier.load(archive, nodes(self.kubeconfig.parent))

    def _need_ours(self, what: str) -> None:
        if not self.ours:
            unavailable(
                f"{what} works on the project's own cluster only, and ASGD_TEST_KUBECONFIG names another"
            )


def unavailable(reason: str) -> NoReturn:
    """Skip the test for `reason`; in CI, fail it."""
    if os.environ.get("CI", "").lower() in ("true", "1"):
        pytest.fail(reason, pytrace=False)
    pytest.skip(reason)
