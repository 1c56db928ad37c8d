"""Jobs that cannot be are refused with a sentence, by the API server or by the operator, which stays up."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cluster.shell import ClusterError
from tests.e2e.jobs import ROOT, digits, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)

NEGATIVE = [{"name": "asgd", "resources": {"limits": {"cpu": "-1"}}}]
UNACCEPTABLE: dict[str, tuple[dict[str, Any], str, str]] = {
    "bad-volume": (
        {"workers": {"podTemplate": {"spec": {"volumes": [{"name": "Not_A_Name"}]}}}},
        "InvalidPodTemplate",
        "Not_A_Name",
    ),
    "bad-type": (
        {"workers": {"podTemplate": {"spec": {"nodeSelector": ["gpu"]}}}},
        "InvalidPodTemplate",
        "nodeSelector",
    ),
    "bad-field": (
        {"parameterServer": {"podTemplate": {"replicas": 3}}},
        "InvalidSpec",
        "allowed are 'metadata' and 'spec'",
    ),
    "no-claim": (
        {"checkpoint": {"uri": "file:///c", "volume": {"pvc": "nowhere"}}},
        "StorageNotFound",
        "no PersistentVolumeClaim nowhere",
    ),
    "bad-quantity": (
        {
            "workers": {
                "podTemplate": {
                    "spec": {"containers": [{"name": "asgd", "resources": {"limits": {"cpu": "-1"}}}]}
                }
            }
        },
        "InvalidPodTemplate",
        "cpu",
    ),
}


def test_malformed_jobs_are_refused_with_a_sentence_and_the_operator_stays_up(release: Release) -> None:
    before = release.operator_pod()
    job = release.job("malformed")
    bad = sorted((ROOT / "tests" / "corpus" / "bad").glob("*.yaml"))
    assert len(bad) >= 30
    for path in bad:
        with pytest.raises(ClusterError) as refused:
            job.run("create", "--validate=strict", "-f", str(path))
        assert len(str(refused.value)) > 40, path.name
    assert json.loads(job.run("get", "asgdjobs", "-o", "json"))["items"] == []

    for name, (spec, reason, sentence) in UNACCEPTABLE.items():
        case = release.job(name, "malformed").apply(digits(**spec))
        until(lambda case=case: case.condition("Accepted").get("status") == "False", f"{name} is judged")
        found = case.condition("Accepted")
        assert found["reason"] == reason, name
        assert sentence in found["message"], found["message"]
        assert case.status["phase"] == "Invalid"
        assert case.pods() == []
    after = release.operator_pod()
    assert after["metadata"]["uid"] == before["metadata"]["uid"]
    assert (
        after["status"]["containerStatuses"][0]["restartCount"]
        == before["status"]["containerStatuses"][0]["restartCount"]
    )
    job.run("delete", "asgdjobs", "--all")


def _life(pod: dict[str, Any]) -> tuple[str, int]:
    (container,) = (item for item in pod["status"]["containerStatuses"] if item["name"] == "asgd")
    return pod["metadata"]["uid"], container["restartCount"]
