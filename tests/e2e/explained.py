"""What `kubectl asgd explain` is to say of each cause: its verdict, which cause it is, and what the fix names."""

from __future__ import annotations

import contextlib
import io
import json
from dataclasses import dataclass
from typing import Any

from asgd.client.cli import main
from tests.e2e.causes import Cause
from tests.e2e.jobs import Job

NOT_RUNNING, FAILED, SLOW, DEGRADED = "not running", "failed", "slow", "degraded"


@dataclass(frozen=True)
class Told:
    """`words` are all in the fix; `says` in the sentence, beside the name of the job."""

    verdict: str
    cause: str
    words: tuple[str, ...]
    says: tuple[str, ...] = ()


TOLD = {
    "no-claim": Told(NOT_RUNNING, "no-claim", ("PersistentVolumeClaim nowhere", "checkpoint.volume.pvc")),
    "no-data": Told(NOT_RUNNING, "no-claim", ("PersistentVolumeClaim data", "workers.podTemplate")),
    "no-class": Told(NOT_RUNNING, "claim-unbound", ("claim data", "storage class")),
    "no-node": Told(NOT_RUNNING, "selector", ("workers.podTemplate.spec.nodeSelector (gpu=h200)",)),
    "no-memory": Told(NOT_RUNNING, "memory", ("workers.resources.requests.memory (900Gi now)",)),
    "no-gpu": Told(NOT_RUNNING, "device", ("nvidia.com/gpu", "workers.resources.limits")),
    "quota": Told(NOT_RUNNING, "quota", ("ResourceQuota none", "parameterServer.resources")),
    "limits": Told(NOT_RUNNING, "limit-range", ("parameterServer.resources", "LimitRange")),
    "privileged": Told(NOT_RUNNING, "pod-security", ("workers.podTemplate",)),
    "no-account": Told(
        NOT_RUNNING, "no-service-account", ("account trainer", "workers.podTemplate.spec.serviceAccountName")
    ),
    "no-ps-account": Told(
        NOT_RUNNING, "no-service-account", ("trainer", "parameterServer.podTemplate.spec.serviceAccountName")
    ),
    "no-priority": Told(
        NOT_RUNNING, "no-priority-class", ("parameterServer.priorityClassName", "no-such-class")
    ),
    "init-fails": Told(NOT_RUNNING, "init-failed", ("workers.podTemplate.spec.initContainers[fetch]",)),
    "ps-init-fails": Told(
        NOT_RUNNING, "init-failed", ("parameterServer.podTemplate.spec.initContainers[fetch]",)
    ),
    "init-command": Told(NOT_RUNNING, "no-command", ("/no/such/command", "initContainers[fetch]")),
    "init-image": Told(NOT_RUNNING, "registry-away", ("initContainers[fetch].image",)),
    "no-configmap": Told(NOT_RUNNING, "no-config-map", ("ConfigMap settings", "workers.podTemplate")),
    "no-env-configmap": Told(NOT_RUNNING, "no-config-map", ("ConfigMap settings", "workers.podTemplate")),
    "no-secret": Told(NOT_RUNNING, "no-secret", ("Secret hub", "workers.podTemplate")),
    "bad-image": Told(NOT_RUNNING, "registry-away", ("spec.image", "localhost/no-such-trainer:9")),
    "oom": Told(NOT_RUNNING, "out-of-memory", ("workers.resources.limits.memory (64Mi now)",)),
    "crashes": Told(NOT_RUNNING, "crash", ("your code or its image",), ("cannot read the licence",)),
    "raises": Told(FAILED, "entrypoint", ("spec.entrypoint (bad:task)", "anew"), ("bad.py:4",)),
    "no-module": Told(FAILED, "entrypoint", ("module nowhere", "spec.entrypoint (nowhere:task)")),
    "hangs": Told(
        NOT_RUNNING, "not-joined", ("log of hangs-worker-0",), ('its log is "waiting for a lock"',)
    ),
    "hung-worker": Told(SLOW, "hung-worker", ("what worker 1 waits for",), ("worker 1",)),
    "slow-worker": Told(
        SLOW, "slow-worker", ("node of worker 1", "workers.resources"), ("slow-worker-worker-1",)
    ),
    "refused-pushes": Told(
        DEGRADED, "pushes-refused", ("data of worker 1", "optimizer.learningRate"), ("worker 1",)
    ),
    "no-labels": Told(DEGRADED, "evaluation-failing", ("spec.entrypoint (bad:task)",), ("no labels.csv",)),
    "elsewhere": Told(
        NOT_RUNNING, "managed-elsewhere", ("team.example.com/own", "managedBy"), ("managedBy",)
    ),
    "one-too-many": Told(
        SLOW, "fewer-workers", ("ResourceQuota three", "workers.replicas"), ("1 of 2 workers",)
    ),
}


def explained(job: Job, kubeconfig: str) -> dict[str, Any]:
    """What `kubectl asgd explain JOB -o json` prints."""
    out = io.StringIO()
    words = ["explain", job.name, "-n", job.namespace, "--kubeconfig", kubeconfig, "-o", "json"]
    with contextlib.redirect_stdout(out):
        assert main(words) == 0
    return dict(json.loads(out.getvalue()))


def amiss(cause: Cause, answer: dict[str, Any]) -> str:
    """What is wrong with an answer; empty for a right one."""
    told = TOLD[cause.name]
    if (answer["verdict"], answer["cause"]) != (told.verdict, told.cause):
        seen = f"{answer['verdict']}, {answer['cause']}: {answer['sentence']}"
        return f"{told.verdict}, {told.cause} was explained as {seen}"
    fix = [word for word in told.words if word not in answer["fix"]]
    said = [word for word in (cause.name, *told.says) if word not in answer["sentence"]]
    return f"{fix + said} is missing in: {answer['sentence']} {answer['fix']}" if fix or said else ""
