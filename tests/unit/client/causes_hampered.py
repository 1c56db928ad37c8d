"""What hampers a job that trains, or ends it well, as a test cluster says rarely or slowly."""

from __future__ import annotations

from asgd.client.explain import Kind
from asgd.spec.phases import letter
from tests.unit.client.seen import (
    NOW,
    Row,
    condition,
    degraded,
    facts,
    report,
    running,
    worker,
)

N, F, S, D, G = "not running", "failed", "slow", "degraded", "fine"
K = Kind


def busy(seconds: float) -> object:
    return report(shards=[{"busySeconds": seconds, "term": 1}])


COMPUTES, READS, PUSHES, WAITS = (letter([float(i == phase) for i in range(4)]) * 16 for phase in range(4))
KEYS = (
    "Secret digits-keys-x with the job's keys was deleted: running pods go on, but no pod can start. Suspend the job "
    "and resume it; it gets new keys then and goes on from its checkpoint."
)
LATE = (
    "digits-worker-0-abcde on node-2 should have ended at 2026-11-30T11:00:00Z. See the pod's finalizers and events, "
    "and the kubelet of its node."
)

HAMPERED = (
    Row(
        running(
            report=report(
                workers=[
                    worker(0, letters=WAITS, waits="others"),
                    worker(1, letters=WAITS, waits="others"),
                    worker(2, letters=COMPUTES),
                ]
            )
        ),
        S,
        K.WAITS_FOR_ONE,
        "exchange.staleness",
        ("2 workers wait for worker 2", "67%"),
        ("exchange.staleness",),
    ),
    Row(
        running(report=busy(101.9), earlier=busy(100.0), apart=2.0),
        S,
        K.SERVER_BUSY,
        "parameterServer.shards",
        ("shard 0", "95%"),
        ("parameterServer.shards, 1 now",),
    ),
    Row(
        running(report=report(workers=[worker(0, letters=READS)])),
        S,
        K.WAITS_FOR_DATA,
        "entrypoint",
        ("100%",),
        ("num_workers",),
    ),
    Row(
        running(report=report(workers=[worker(0, letters=PUSHES)])),
        S,
        K.EXCHANGES,
        "exchange.ahead",
        ("100%",),
        ("exchange.ahead: 1",),
    ),
    Row(
        running(
            report=report(staleness={"p99": 8}),
            spec={"exchange": {"staleness": {"max": 8, "policy": "Wait"}}},
        ),
        S,
        K.STALENESS,
        "exchange.staleness.max",
        ("bound of 8", "workers wait"),
        ("exchange.staleness.max",),
    ),
    Row(
        degraded(
            "HighStaleness",
            "The 99th percentile of staleness is far above the number of workers.",
            status={"training": {"stalenessP99": 90}},
        ),
        S,
        K.STALENESS,
        "exchange.staleness.max",
        ("99th percentile 90 updates, 2 workers",),
        ("worker that is slow",),
    ),
    Row(
        running(report=report(refused={"stale": 900})),
        D,
        K.PUSHES_REFUSED,
        "exchange.staleness.max",
        ("47%", "stale"),
        ("exchange.staleness.max",),
    ),
    Row(
        running(report=report(refused={"outlier": 900})),
        D,
        K.PUSHES_REFUSED,
        says=("outlier",),
        fix=("suspects",),
    ),
    Row(
        degraded(
            "WorkerRejected",
            "Worker 3 is not listened to until the long window ends: what they sent wandered off.",
        ),
        D,
        K.WORKER_REJECTED,
        says=("worker 3",),
        fix=("worker 3",),
    ),
    Row(
        degraded("RolledBack", "Worker 1 pushed nan, the job went back to update 40."),
        D,
        K.ROLLED_BACK,
        "optimizer.learningRate",
        fix=("optimizer.learningRate",),
    ),
    Row(
        degraded("CheckpointFailing", "The newest checkpoint is too old; see the log of shard 0."),
        D,
        K.CHECKPOINT_FAILING,
        "checkpoint.uri",
        fix=("checkpoint.uri",),
    ),
    Row(
        running(report=report(checkpointError="No space left on device")),
        D,
        K.CHECKPOINT_FAILING,
        "checkpoint.uri",
        ("No space left",),
        ("checkpoint.uri",),
    ),
    Row(
        degraded("MetricsUnavailable", "Shard 0 does not answer on its metrics port."),
        D,
        K.SILENT_SHARD,
        fix=("NetworkPolicy",),
    ),
    Row(
        degraded("Outdated", "It runs from a former spec; suspend and resume it to apply the edit."),
        D,
        K.OUTDATED,
        fix=("Suspend", "resume"),
    ),
    Row(
        degraded(
            "OperatorBug",
            "The operator fails on this job, which is a fault of its own: KeyError. It tries again.",
        ),
        D,
        K.OPERATOR,
        says=("KeyError; it tries",),
        fix=("Report",),
    ),
    Row(
        facts(
            condition("ParameterServersReady", "Starting", "0 of 1 parameter servers are ready.", False),
            condition(
                "Degraded",
                "ReconcileFailed",
                "The operator cannot go on with this job: forbidden. It tries again.",
            ),
        ),
        N,
        K.OPERATOR,
        says=("forbidden",),
        fix=("right",),
    ),
    Row(
        degraded("PodsNotEnding", LATE),
        D,
        K.PODS_NOT_ENDING,
        says=("should have ended",),
        fix=("finalizer", "digits-worker-0-abcde"),
    ),
    Row(degraded("KeysLost", KEYS), D, K.KEYS_LOST, fix=("Suspend the job and resume it",)),
    Row(
        degraded("Drifted", "spec.replicas of Deployment x was changed by kubectl"),
        D,
        K.DRIFT,
        fix=("by hand",),
    ),
    Row(degraded("Moonlight", "The moon is full."), D, K.UNKNOWN, says=("the moon is full (Moonlight)",)),
    Row(
        facts(
            condition(
                "Suspended", "Suspending", "Workers hand in their work and leave, within 30 s each.", False
            ),
            spec={"runPolicy": {"suspend": True}},
        ),
        "suspended",
        K.SUSPENDING,
        "runPolicy.suspend",
        ("workers hand in",),
    ),
    Row(
        running(
            condition(
                "Running",
                "Completing",
                "The stop rule is met; workers end and the last state is saved.",
                False,
            )
        ),
        G,
        K.ENDING,
        says=("the stop rule is met",),
    ),
)
ALL_WELL = Row(running(status={"training": {"updates": 0}}), G, K.TRAINS, says=("first update",), now=NOW)
