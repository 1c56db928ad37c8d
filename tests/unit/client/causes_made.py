"""Causes that a test cluster gives rarely or slowly, in the operator's, the scheduler's and the kubelet's own words."""

from __future__ import annotations

import msgspec

from asgd.client.explain import Facts, Kind
from tests.unit.client.seen import (
    Row,
    condition,
    ended,
    facts,
    job,
    running,
    servers,
    workers,
)

N, F, S, D, G = "not running", "failed", "slow", "degraded", "fine"
K = Kind


def nodes(said: str, **more: object) -> Facts:
    text = f"0 workers are ready; workers.minReplicas is 1. No node takes digits-worker-0-abcde: {said}"
    return workers("Unschedulable", text, **more)


def pulled(said: str) -> Facts:
    return workers(
        "ImagePullError",
        f"The image of digits-worker-0-abcde cannot be pulled: {said}.",
        spec={"image": "hub/me:1"},
    )


def new(created: str) -> Facts:
    document = job()
    document["metadata"]["creationTimestamp"] = created
    return Facts("ml", "digits", msgspec.json.decode(msgspec.json.encode(document | {"status": {}})))


def edited() -> Facts:
    document = job(condition("Running", "TrainingProgressing"), status={"phase": "Running"})
    document["metadata"] |= {
        "generation": 2,
        "managedFields": [{"manager": "kubectl", "time": "2026-11-30T11:50:00Z"}],
    }
    return Facts("ml", "digits", document)


OTHER_VERSION = Facts("ml", "digits", job() | {"apiVersion": "asgd.dev/v1"})
LOST = "digits-worker-0-abcde is on node-2, which does not answer."
TAINTS = (
    "0/3 nodes are available: 1 node(s) had untolerated taint {node-role.kubernetes.io/control-plane: }, "
    "2 node(s) had untolerated taint {spot: true}. preemption: 0/3 nodes are available: 3 Preemption is not helpful."
)
PROXY = 'failed to pull and unpack image "hub/me:1": unexpected status from HEAD request: 401 Unauthorized'
GONE = 'rpc error: code = NotFound desc = failed to pull and unpack image "hub/me:1": hub/me:1: not found'

MADE = (
    Row(Facts("ml", "digits", None), N, K.NO_JOB, says=("no AsgdJob digits in namespace ml",), fix=("-n",)),
    Row(Facts("ml", "digits", None, served=False), N, K.NO_KIND, fix=("chart", "--context")),
    Row(OTHER_VERSION, N, K.OTHER_VERSION, says=("asgd.dev/v1,",), fix=("one version",)),
    Row(new("2026-11-30T11:59:57Z"), N, K.JUST_APPLIED, says=("3 s ago",)),
    Row(
        new("2026-11-30T11:58:00Z"),
        N,
        K.NO_OPERATOR,
        says=("2m00s", "namespace ml"),
        fix=("watch.namespaces", "ml"),
    ),
    Row(edited(), N, K.OPERATOR_AWAY, says=("10m00s ago", "(Running)"), fix=("operator",)),
    Row(
        facts(
            condition(
                "Accepted",
                "InvalidSpec",
                "spec.scheduling.gang: the cluster knows no kind PodGroup; install what defines it.",
                False,
            )
        ),
        N,
        K.INVALID_SPEC,
        "scheduling.gang",
        ("no kind PodGroup",),
        ("scheduling.gang",),
    ),
    Row(
        facts(
            condition(
                "Accepted",
                "QuotaExceeded",
                'spec: configmaps "x" is forbidden: exceeded quota: small, requested: count/configmaps=1.',
                False,
            )
        ),
        N,
        K.QUOTA,
        "workers.replicas",
        ("exceeded quota: small",),
        ("ResourceQuota small", "namespace ml"),
    ),
    Row(
        workers(
            "PodsRefused",
            'Pods of digits-worker cannot be made: admission webhook "policy" denied the request: no.',
        ),
        N,
        K.PODS_REFUSED,
        "workers.podTemplate",
        ("admission webhook",),
    ),
    Row(nodes("0/2 nodes are available: 2 node(s) had volume node affinity conflict."), N, K.CLAIM_ELSEWHERE),
    Row(
        nodes(TAINTS),
        N,
        K.TAINT,
        "workers.podTemplate.spec.tolerations",
        ("spot",),
        ("taint spot: true in", "tolerations"),
    ),
    Row(nodes("0/2 nodes are available: 2 node(s) were unschedulable."), N, K.CORDONED, fix=("cordoned",)),
    Row(
        nodes(
            "0/2 nodes are available: 2 Insufficient cpu.",
            spec={"workers": {"resources": {"limits": {"cpu": "64"}}}},
        ),
        N,
        K.CPU,
        "workers.resources.limits.cpu",
        fix=("workers.resources.limits.cpu (64 now)",),
    ),
    Row(
        nodes(
            "0/2 nodes are available: 2 Insufficient nvidia.com/gpu.",
            spec={"workers": {"devices": {"count": 1}}},
        ),
        N,
        K.DEVICE,
        "workers.devices",
        fix=("nvidia.com/gpu", "workers.devices.resourceName", "workers.devices.count"),
    ),
    Row(
        nodes("0/2 nodes are available: 2 Too many pods."),
        N,
        K.PODS_FULL,
        "workers.replicas",
        fix=("workers.replicas",),
    ),
    Row(
        nodes("0/2 nodes are available: 2 node(s) didn't match pod topology spread constraints."),
        N,
        K.UNSCHEDULABLE,
    ),
    Row(
        workers(
            "Queued",
            "Queue team-a has not let the workers start yet: insufficient quota for cpu in flavor any.",
            spec={"scheduling": {"queueName": "team-a"}},
        ),
        "waiting in a queue",
        K.QUEUE,
        "scheduling.queueName",
        ("queue team-a", "insufficient quota for cpu in flavor any"),
        ("team-a",),
    ),
    Row(
        facts(
            condition(
                "Accepted",
                "QueueNotFound",
                "spec.scheduling.queueName: this cluster has no Kueue, so nobody would let the workers start;"
                " install it, or name no queue.",
                False,
            )
        ),
        N,
        K.QUEUE,
        "scheduling.queueName",
        ("no Kueue",),
        ("Install Kueue",),
    ),
    Row(pulled(GONE), N, K.NO_IMAGE, "image", ("not found",), ("Mend spec.image", "push the image hub/me:1")),
    Row(
        pulled(PROXY),
        N,
        K.IMAGE_ACCESS,
        "workers.podTemplate.spec.imagePullSecrets",
        ("401",),
        ("imagePullSecrets", "hub/me:1"),
    ),
    Row(
        workers("NodeLost", LOST),
        N,
        K.NODE_LOST,
        says=("node-2, which does not answer",),
        fix=("node node-2",),
    ),
    Row(
        servers("Starting", "0 of 1 parameter servers are ready. Pods are being started."),
        N,
        K.STARTING,
        says=("it is starting: pods are",),
    ),
    Row(
        servers(
            "Restoring", "0 of 1 parameter servers are ready. digits-server-0 runs and is not ready yet."
        ),
        N,
        K.RESTORING,
        says=("comes back",),
    ),
    Row(
        running(condition("Running", "Stalled", "Shard 0 accepted no update for more than 600 s.", False)),
        N,
        K.STALLED,
        "runPolicy.progressDeadlineSeconds",
        ("600 s",),
        ("logs of the workers",),
    ),
    Row(
        running(
            condition("Running", "Stalled", "Shard 0 accepted no update for more than 600 s.", False),
            condition(
                "Degraded",
                "WorkerHung",
                "Worker 1 has pushed nothing for long; see workers.progressDeadlineSeconds.",
            ),
        ),
        N,
        K.STALLED,
        "workers.progressDeadlineSeconds",
        ("600 s, and worker 1",),
        ("what worker 1 waits for",),
    ),
    Row(
        ended("WorkerBackoffExceeded", "1 of 1 workers failed more often than it may."),
        F,
        K.CRASH,
        "workers.backoffLimitPerIndex",
        fix=("apply the job anew",),
    ),
    Row(ended("Unheard", "The moon is full."), F, K.UNKNOWN, says=("the moon is full (Unheard)",)),
    Row(
        ended("FatalExitCode", "digits-server-0 exited with 76, which no retry can mend; see its log."),
        F,
        K.CRASH,
        "checkpoint.uri",
        fix=("store of its own",),
    ),
)
