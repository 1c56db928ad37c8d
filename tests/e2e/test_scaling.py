"""The number of workers changes while the job trains, by each of the ways that Kubernetes has."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.e2e.jobs import SAMPLES, Identity, Job, paced, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(900)


def others_stay(before: dict[str, Identity], job: Job) -> None:
    """Pods that were there and still are, are the same pods."""
    after = job.identities()
    kept = before.keys() & after.keys()
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert {name for name in before if "-server-" in name or "-evaluator-" in name} <= kept


def steady_speed(job: Job) -> float:
    """Samples a second over ten seconds, by shard 0's own counts."""
    first = job.told()
    second = until(
        lambda: (now := job.told()) and now["seconds"] >= first["seconds"] + 10 and now, "time goes on"
    )
    return float((second["samples"] - first["samples"]) / (second["seconds"] - first["seconds"]))


def test_scaling_by_hand_and_by_an_autoscaler_touches_no_other_pod_and_no_sample_twice(
    release: Release,
) -> None:
    job = release.job("elastic")
    resources = {"requests": {"cpu": "50m"}}
    document = paced(epochs=60)
    document["spec"]["workers"] = {"replicas": 1, "resources": resources}
    job.apply(document)
    job.trains_with(1)
    before, alone = job.identities(), steady_speed(job)

    job.run("scale", "asgdjob/elastic", "--replicas=3")
    job.trains_with(3)
    others_stay(before, job)
    assert steady_speed(job) > 1.5 * alone

    before = job.identities()
    job.edit(workers={"replicas": 2})
    job.trains_with(2)
    others_stay(before, job)

    before = job.identities()
    job.run("apply", "-f", "-", stdin=autoscaler(average="2m", least=2, most=3))
    job.trains_with(3)
    others_stay(before, job)
    before = job.identities()
    job.run("apply", "-f", "-", stdin=autoscaler(average="1000", least=1, most=3))
    job.trains_with(1)
    others_stay(before, job)
    job.run("delete", "hpa", "elastic")

    job.hurry()
    job.wait("Complete")
    training = job.status["training"]
    assert (training["samples"], training["epochs"]) == (60 * SAMPLES, 60)
    assert (training["lostUpdates"], job.status["workers"]["failed"]) == (0, 0)
    assert {"WorkersScaledUp", "WorkersScaledDown"} <= job.events()
    job.delete()


def test_the_job_sets_the_number_of_its_workers_by_what_it_has_measured(release: Release) -> None:
    job = release.job("advised")
    document = paced(epochs=60)
    rule = {"min": 1, "max": 2, "stabilizationWindowSeconds": 0}
    document["spec"]["workers"] = {
        "replicas": 1, "autoscale": rule, "resources": {"requests": {"cpu": "50m"}},
    }  # fmt: skip
    job.apply(document)
    job.trains_with(1)
    before = job.identities()
    job.trains_with(2)
    others_stay(before, job)
    (why,) = [item["message"] for item in job.told_events() if item["reason"] == "WorkersScaledUp"]
    assert why.startswith("Workers: 1 -> 2: 2 workers would train on "), why
    assert job.document["spec"]["workers"]["replicas"] == 1 and job.status["workers"]["desired"] == 2

    job.edit(workers={"autoscale": {"max": 1}})
    job.trains_with(1)
    job.delete()


def autoscaler(average: str, least: int, most: int) -> str:
    """An HPA over the job's `scale` subresource; `average`: CPU a worker that it aims at."""
    target = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "name": "elastic"}
    metric = {"name": "cpu", "target": {"type": "AverageValue", "averageValue": average}}
    spec: dict[str, Any] = {
        "scaleTargetRef": target,
        "minReplicas": least,
        "maxReplicas": most,
        "metrics": [{"type": "Resource", "resource": metric}],
    }
    found = {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "elastic"},
    }
    return json.dumps(found | {"spec": spec})
