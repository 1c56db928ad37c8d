"""The first ten minutes of a user: install the chart, apply the example, wait, find the model."""

from __future__ import annotations

import json

import pytest

from tests.e2e.jobs import SAMPLES, digits, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(600)
ACCURACY = 0.97
"""What examples/digits.yaml reaches on every seed, with room for another order of updates."""


def test_the_example_trains_in_pods_to_its_accuracy_and_leaves_its_model(release: Release) -> None:
    job = release.job("digits")
    job.apply(digits(checkpoint=job.claim(), workers={"replicas": 2}))
    job.wait("Complete")
    status = job.status
    training = status["training"]
    assert training["metrics"]["accuracy"] >= ACCURACY
    assert training["samples"] == 60 * SAMPLES
    assert (training["stopReason"], training["lostUpdates"], training["progressPercent"]) == (
        "epochs",
        0,
        100,
    )
    assert status["checkpoint"]["lastUpdates"] == training["updates"]
    assert job.condition("Complete")["reason"] == "TargetReached"
    assert {"Accepted", "ServersStarted", "ServersReady", "TrainingStarted", "Completed"} <= job.events()
    name, phase, reason, _, desired, *_ = job.run("get", "asgdjobs", "--no-headers").split()
    assert (name, phase, reason, desired) == ("digits", "Succeeded", "TargetReached", "2")

    until(lambda: job.pods("server") == [], "the servers are removed")
    assert [pod["status"]["phase"] for pod in job.pods("worker")] == ["Succeeded", "Succeeded"]
    assert manifest_of(release, "digits", status["checkpoint"]["lastUri"])["updates"] == training["updates"]
    job.delete()


def manifest_of(release: Release, namespace: str, uri: str) -> dict[str, int]:
    """The manifest of a checkpoint, read by a pod that mounts the claim as the user's own would."""
    folder = uri.removeprefix("file:///checkpoints/")
    security = {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    command = f"ls /c/{folder}/shard-1-of-2.safetensors && cat /c/{folder}/manifest.json"
    container = {
        "name": "reader",
        "image": "localhost/busybox:1",
        "command": ["sh", "-c", command],
        "securityContext": security,
        "volumeMounts": [{"name": "models", "mountPath": "/c"}],
    }
    profile = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    volumes = [{"name": "models", "persistentVolumeClaim": {"claimName": "models"}}]
    spec = {
        "restartPolicy": "Never",
        "securityContext": profile,
        "containers": [container],
        "volumes": volumes,
    }
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "reader"}, "spec": spec}
    release.kubectl.apply(pod, namespace=namespace)
    release.kubectl.wait("pod/reader", "jsonpath={.status.phase}=Succeeded", "-n", namespace)
    _, manifest = release.kubectl("-n", namespace, "logs", "reader").split("\n", 1)
    release.kubectl("-n", namespace, "delete", "pod", "reader")
    return dict(json.loads(manifest))


def test_a_job_without_a_volume_needs_none(release: Release) -> None:
    job = release.job("plain")
    job.apply(digits(args={"model": "mlp"}, workers={"replicas": 1}, stopAfter={"epochs": 3}))
    job.wait("Complete")
    assert job.status["training"]["samples"] == 3 * SAMPLES
    limits = [pod["spec"]["containers"][0]["resources"].get("limits", {}) for pod in job.pods()]
    assert all("nvidia.com/gpu" not in limit for limit in limits)
    job.delete()
