"""The API tier serves custom kinds and runs the real controllers, and leaves nothing behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import api_tier
from tests.cluster.kubectl import Kubectl
from tests.cluster.processes import owned_by
from tests.cluster.shell import ClusterError, wait_until

pytest_plugins = ["tests.cluster.fixtures"]

_COUNTED = {"type": "object", "properties": {"count": {"type": "integer", "maximum": 3}}}
CRD: dict[str, Any] = {
    "apiVersion": "apiextensions.k8s.io/v1",
    "kind": "CustomResourceDefinition",
    "metadata": {"name": "things.cluster.test"},
    "spec": {
        "group": "cluster.test",
        "scope": "Namespaced",
        "names": {"kind": "Thing", "plural": "things", "singular": "thing"},
        "versions": [
            {
                "name": "v1",
                "served": True,
                "storage": True,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": _COUNTED}}},
            }
        ],
    },
}
POD = {"restartPolicy": "Never", "containers": [{"name": "main", "image": "localhost/busybox:1"}]}


def thing(count: int) -> dict[str, Any]:
    metadata = {"name": "one"}
    return {"apiVersion": "cluster.test/v1", "kind": "Thing", "metadata": metadata, "spec": {"count": count}}


def test_a_custom_kind_is_served_and_its_schema_is_enforced(api_server: Kubectl) -> None:
    api_server.apply(CRD)
    api_server.wait("crd/things.cluster.test", "condition=Established")
    api_server.apply(thing(3))
    assert api_server.json("get", "thing", "one")["spec"] == {"count": 3}
    with pytest.raises(ClusterError, match="less than or equal to 3"):
        api_server.apply(thing(4))


def test_the_job_controller_makes_a_job_s_pods(api_server: Kubectl) -> None:
    spec = {"parallelism": 2, "completions": 2, "template": {"spec": POD}}
    api_server.apply({"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "pair"}, "spec": spec})
    wait_until(
        "two active pods", lambda: api_server.json("get", "job", "pair")["status"].get("active") == 2, 30
    )
    pods = api_server.json("get", "pods", "-l", "batch.kubernetes.io/job-name=pair")["items"]
    assert [pod["status"]["phase"] for pod in pods] == ["Pending", "Pending"]
    reasons = {condition["reason"] for pod in pods for condition in pod["status"].get("conditions", [])}
    assert reasons <= {"Unschedulable"}, "there are no nodes"


@pytest.mark.usefixtures("api_programs")
def test_down_ends_every_process_and_removes_every_file(tmp_path: Path) -> None:
    state = tmp_path / "state"
    plane = api_tier.up(state, tied=True)
    assert len(list(owned_by(state))) == 4
    api_tier.down(state)
    assert (list(owned_by(state)), state.exists()) == ([], False)
    plane.processes.stop()


@pytest.mark.usefixtures("api_programs")
def test_a_killed_test_run_takes_its_tied_servers_along(tmp_path: Path) -> None:
    state = tmp_path / "state"
    code = (
        "import sys, time; from pathlib import Path; from tests.cluster import api_tier;"
        "api_tier.up(Path(sys.argv[1]), tied=True); print('up', flush=True); time.sleep(600)"
    )
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-c", code, str(state)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as session:
        assert session.stdout is not None
        assert session.stdout.readline() == "up\n"
        session.kill()
    wait_until("the servers' end", lambda: not list(owned_by(state)), 20)


@pytest.mark.usefixtures("api_programs")
def test_up_again_after_a_crash_half_way_starts_afresh(tmp_path: Path) -> None:
    state = tmp_path / "state"
    broken = api_tier.up(state, tied=True)
    broken.processes.started["kube-apiserver"].kill()
    time.sleep(0.1)
    plane = api_tier.up(state, tied=True)
    assert plane.kubectl("get", "namespaces", "-o", "name").splitlines()[0] == "namespace/default"
    assert len(list(owned_by(state))) == 4
    plane.processes.stop()
    broken.processes.stop()
