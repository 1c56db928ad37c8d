"""The API tier: a control plane alone, by any user, any number of them at once, up in a few seconds.

Objects are stored, validated, defaulted and worked on by the real controllers, but no pod ever runs: tests
write the statuses that a kubelet would write. Tests that need running pods use the node tier.
"""

from __future__ import annotations

import shutil
from pathlib import Path

from tests.cluster.controlplane import ControlPlane, free_ports
from tests.cluster.processes import Processes, kill_all


def up(state: Path, tied: bool = False) -> ControlPlane:
    """Start a control plane with its files in `state`; `tied`: it dies with this process."""
    down(state)
    state.mkdir(parents=True, mode=0o700)
    plane = _plane(Processes(state, tied), free_ports(1)[0])
    plane.start()
    return plane


def down(state: Path) -> None:
    """End what `up` started, however far it came, and remove its files."""
    kill_all(state)
    shutil.rmtree(state, ignore_errors=True)


def running(state: Path) -> ControlPlane | None:
    """The control plane in `state` if it answers."""
    plane = _plane(Processes(state), port=0)
    answers = plane.kubeconfig.exists() and plane.kubectl.succeeds("get", "--raw", "/readyz")
    return plane if answers else None


def _plane(processes: Processes, port: int) -> ControlPlane:
    # No pod reaches this server, and a loopback address is refused as an endpoint.
    flags = ("--advertise-address=127.0.0.1", "--endpoint-reconciler-type=none")
    return ControlPlane(processes, "127.0.0.1", port, flags)
