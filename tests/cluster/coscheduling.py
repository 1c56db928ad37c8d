"""The scheduler of scheduler-plugins with coscheduling beside the cluster's own, and nodes that are played."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.cluster.controlplane import free_ports
from tests.cluster.kubectl import Kubectl
from tests.cluster.processes import Processes
from tests.cluster.queues import COSCHEDULING, path
from tests.cluster.shell import succeeds, wait_until

NAME = "gangs"
"""What a pod names as its `schedulerName`."""
_SECONDS = 60


@contextmanager
def scheduler(kubectl: Kubectl, folder: Path) -> Iterator[None]:
    """From when it is ready on; killed at the end. The CRD of its PodGroups has to be there."""
    folder.mkdir(parents=True)
    (port,) = free_ports(1)
    everywhere = [{"name": "Coscheduling"}]
    profile = {
        "schedulerName": NAME,
        "plugins": {
            "multiPoint": {"enabled": everywhere},
            "queueSort": {"enabled": everywhere, "disabled": [{"name": "*"}]},
        },
        "pluginConfig": [{"name": "Coscheduling", "args": {"permitWaitingTimeSeconds": 10}}],
    }
    configuration = folder / "configuration.yaml"
    configuration.write_text(
        json.dumps(
            {
                "apiVersion": "kubescheduler.config.k8s.io/v1",
                "kind": "KubeSchedulerConfiguration",
                "leaderElection": {"leaderElect": False},
                "clientConnection": {"kubeconfig": str(kubectl.kubeconfig)},
                "profiles": [profile],
            }
        )
    )
    processes = Processes(folder, tied=True)
    processes.start(
        *("coscheduling", path(COSCHEDULING), f"--config={configuration}"),
        *("--bind-address=127.0.0.1", f"--secure-port={port}"),
    )
    try:
        ready = ("curl", "-ksf", f"https://127.0.0.1:{port}/readyz")
        wait_until("the scheduler", lambda: succeeds(*ready), _SECONDS, processes.dead)
        yield
    finally:
        processes.stop()


def add_node(kubectl: Kubectl, name: str, cpus: int) -> None:
    """A node that says that it is ready, once: pods that are to stay tolerate that it falls silent."""
    kubectl.apply({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}})
    size = {"cpu": str(cpus), "memory": "64Gi", "pods": "20"}
    ready = {"type": "Ready", "status": "True", "reason": "Played", "message": ""}
    status = {"capacity": size, "allocatable": size, "conditions": [ready]}
    words = ("patch", "node", name, "--subresource=status", "--type=merge")
    kubectl(*words, "-p", json.dumps({"status": status}))
