"""A real API server takes every rendered child, and its admission takes every pod under the `restricted`
standard.

PodMonitor and PodGroup are left out: their kinds come with other people's operators and are unknown to this
server.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from asgd_operator.render import Manifest
from tests.cluster import api_tier
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError
from tests.unit.render.builders import rendered
from tests.unit.render.golden import names

DRY = ("--dry-run=server", "--validate=strict", "--warnings-as-errors")
FOREIGN = {"PodMonitor", "PodGroup"}
ALL = pytest.mark.parametrize("name", names())


@pytest.fixture(scope="module")
def kubectl(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kubectl]:
    state: Path = tmp_path_factory.mktemp("rendered") / "state"
    try:
        plane = api_tier.up(state, tied=True)
    except ClusterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no API server: {error}")
    try:
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": "train", "labels": {"pod-security.kubernetes.io/enforce": "restricted"}},
        }
        plane.kubectl.apply(namespace)
        yield plane.kubectl
    finally:
        api_tier.down(state)


@ALL
def test_the_api_server_takes_every_child_without_a_warning(kubectl: Kubectl, name: str) -> None:
    for child in rendered(name=name).all():
        if child["kind"] not in FOREIGN:
            kubectl("create", *DRY, "-f", "-", stdin=json.dumps(child))
            kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=json.dumps(child))


@ALL
def test_every_pod_is_admitted_where_the_restricted_standard_is_enforced(kubectl: Kubectl, name: str) -> None:
    made = rendered(name=name)
    for workload in (made.servers, made.workers, *([made.evaluator] if made.evaluator else [])):
        pod = _as_pod(workload)
        kubectl("create", *DRY, "-f", "-", stdin=json.dumps(pod))


def test_the_standard_is_really_enforced_there(kubectl: Kubectl) -> None:
    pod = _as_pod(rendered().workers)
    pod["spec"]["securityContext"]["runAsNonRoot"] = False
    with pytest.raises(ClusterError, match="runAsNonRoot"):
        kubectl("create", "--dry-run=server", "-f", "-", stdin=json.dumps(pod))


def test_scaling_a_worker_job_is_an_edit_that_the_api_server_takes(kubectl: Kubectl) -> None:
    kubectl.apply(rendered().workers, namespace="train")
    kubectl.apply(rendered("workers.replicas=9").workers, namespace="train")
    assert kubectl.json("get", "job", "digits-worker", "-n", "train")["spec"]["completions"] == 9


def test_more_shards_are_an_edit_of_the_same_stateful_set(kubectl: Kubectl) -> None:
    kubectl.apply(rendered("runPolicy.suspend=true").servers, namespace="train")
    kubectl.apply(rendered("parameterServer.shards=3").servers, namespace="train")
    assert kubectl.json("get", "statefulset", "digits-server", "-n", "train")["spec"]["replicas"] == 3


def _as_pod(workload: Manifest) -> Manifest:
    template = workload["spec"]["template"]
    metadata = {**template["metadata"], "name": workload["metadata"]["name"], "namespace": "train"}
    # NB: a service account or a priority class that is not there is refused before the security standard is
    # asked.
    absent = ("serviceAccountName", "priorityClassName")
    spec = {key: value for key, value in template["spec"].items() if key not in absent}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec}
