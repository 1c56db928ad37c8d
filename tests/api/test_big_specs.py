"""Big jobs and newer ones on a real API server: what is refused, in which words, and what goes on."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.api.acting import QUICK, Job, OperatorProcess, clear, operator, until
from tests.api.conftest import CRD
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy
HEAD = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "big"}}


@pytest.fixture(scope="module")
def running(kubectl: Kubectl, tmp_path_factory: pytest.TempPathFactory) -> Iterator[OperatorProcess]:
    clear(kubectl)
    with operator(kubectl, tmp_path_factory.mktemp("operator"), **QUICK) as process:
        yield process
    clear(kubectl)


def document(**source: str) -> str:
    return json.dumps(HEAD | {"spec": {"entrypoint": "a.py:task", "source": source}})


def config_map(name: str, **files: str) -> dict[str, Any]:
    data = {f"{key}.py": text for key, text in files.items()}
    return {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data}


def test_over_256_kib_kubectl_apply_needs_server_side_as_validate_says(kubectl: Kubectl) -> None:
    large = document(**{"a.py": "x" * 200_000, "b.py": "y" * 200_000})
    with pytest.raises(
        ClusterError, match=r"metadata\.annotations: Too long: may not be more than 262144 bytes"
    ):
        kubectl("apply", "--dry-run=server", "-f", "-", stdin=large)
    kubectl("apply", "--server-side", "--dry-run=server", "-f", "-", stdin=large)


def test_a_file_that_is_too_long_is_refused_by_its_rule_alone(kubectl: Kubectl) -> None:
    """A bound of the schema would add a line that says `<nil>: Invalid value`."""
    with pytest.raises(ClusterError) as refused:
        kubectl(
            "apply", "--server-side", "--dry-run=server", "-f", "-", stdin=document(**{"a.py": "x" * 262_145})
        )
    assert "must have at most 262,144 characters in each file" in str(refused.value)
    assert "<nil>" not in str(refused.value)


@pytest.mark.usefixtures("running")
def test_a_job_waits_for_its_configmap_copies_it_and_heeds_no_later_edit(kubectl: Kubectl) -> None:
    job = Job(kubectl, "from-map")
    job.create(entrypoint="train.py:task", sourceFrom={"configMap": "code"})
    missing = "spec.sourceFrom.configMap: there is no ConfigMap code in from-map."
    until(lambda: job.condition("Accepted").get("message") == missing, "the ConfigMap is missed")
    assert job.condition("Accepted")["reason"] == "SourceNotFound"
    kubectl.apply(config_map("code", train="first = 1"), namespace="from-map")
    until(lambda: job.get("statefulset", "from-map-server"), "it starts", 60)

    def copies() -> list[str]:
        found = [item for item in job.list("configmaps") if "-spec-" in item["metadata"]["name"]]
        return [json.loads(item["data"]["job.json"])["spec"]["source"]["train.py"] for item in found]

    assert copies() == ["first = 1"]
    kubectl.apply(config_map("code", train="second = 2"), namespace="from-map")
    kubectl("-n", "from-map", "annotate", "asgdjob", "from-map", "look=again")
    until(lambda: job.condition("Accepted").get("status") == "True", "it is accepted")
    assert copies() == ["first = 1"]
    with pytest.raises(ClusterError, match=r"spec\.sourceFrom: .*is frozen while the job runs"):
        job.edit(sourceFrom={"configMap": "code-2"})


@pytest.mark.usefixtures("running")
def test_a_running_job_with_a_field_of_a_newer_crd_goes_on_and_a_new_one_is_refused(kubectl: Kubectl) -> None:
    job = Job(kubectl, "newer")
    job.create(workers={"replicas": 1})
    until(lambda: job.get("statefulset", "newer-server"), "it starts")
    newer = yaml.safe_load(CRD.read_text())
    spec = newer["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    spec["properties"]["workers"]["properties"]["lookahead"] = {"type": "integer"}
    kubectl("apply", "--server-side", "-f", "-", stdin=json.dumps(newer))
    try:
        # A watch that began before goes on without the new field, for less than a minute.
        values = itertools.count(1)
        until(
            lambda: (
                _edited(job, next(values)) and job.condition("Degraded").get("reason") == "OperatorOutdated"
            ),
            "it is told",
            120,
        )
        assert "does not know spec.workers.lookahead" in job.condition("Degraded")["message"]
        assert job.status["phase"] == "Starting"
        assert job.condition("Accepted")["status"] == "True"
        assert "OperatorOutdated" in job.events()

        second = Job(kubectl, "newest")
        second.create(workers={"replicas": 1, "lookahead": 3})
        assert second.phase("Invalid")
        assert "give operator and CRD one version" in second.condition("Accepted")["message"]
        assert second.get("statefulset", "newest-server") is None
    finally:
        kubectl("apply", "--server-side", "--force-conflicts", "-f", str(CRD))


def _edited(job: Job, value: int) -> bool:
    """Whether the API server keeps the new field."""
    job.edit(workers={"lookahead": value})
    return "lookahead" in job.get("asgdjob", job.name)["spec"]["workers"]


def test_the_crd_stays_within_what_the_api_server_takes() -> None:
    assert len(Path(CRD).read_bytes()) < 200_000, "kubectl apply keeps a copy in an annotation of 256 KiB"
