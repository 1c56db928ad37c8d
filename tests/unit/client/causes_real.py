"""Causes that were provoked on a cluster of two nodes; `documents/` holds what it said."""

from __future__ import annotations

from asgd.client.explain import Kind
from tests.unit.client.seen import Row, real

N, F, S, D, G = "not running", "failed", "slow", "degraded", "fine"
K = Kind
_TABLE: dict[str, tuple[str, Kind, str, tuple[str, ...], tuple[str, ...]]] = {
    "no-claim": (
        N,
        K.NO_CLAIM,
        "checkpoint.volume.pvc",
        (),
        ("PersistentVolumeClaim nowhere", "checkpoint.volume.pvc"),
    ),
    "no-class": (N, K.CLAIM_UNBOUND, "", ("unbound",), ("claim data", "storage class")),
    "no-node": (N, K.SELECTOR, "workers.podTemplate.spec.nodeSelector", ("no-node-worker-0",), ("gpu=h200",)),
    "no-memory": (
        N,
        K.MEMORY,
        "workers.resources.requests.memory",
        ("Insufficient memory.",),
        ("900Gi now",),
    ),
    "no-gpu": (N, K.DEVICE, "workers.resources.limits[nvidia.com/gpu]", (), ("nvidia.com/gpu",)),
    "no-scheduler": (
        N,
        K.NO_SCHEDULER,
        "scheduling.schedulerName",
        ("waits for the scheduler",),
        ("scheduler nobody",),
    ),
    "quota": (N, K.QUOTA, "parameterServer.shards", ("exceeded quota: none",), ("ResourceQuota none",)),
    "limits": (N, K.LIMIT_RANGE, "parameterServer.resources", ("100Mi",), ("LimitRange",)),
    "privileged": (
        N,
        K.POD_SECURITY,
        "workers.podTemplate",
        ("violates PodSecurity",),
        ("workers.podTemplate",),
    ),
    "no-account": (
        N,
        K.NO_SERVICE_ACCOUNT,
        "workers.podTemplate.spec.serviceAccountName",
        (),
        ("account trainer",),
    ),
    "no-priority": (N, K.NO_PRIORITY_CLASS, "parameterServer.priorityClassName", (), ("no-such-class",)),
    "init-fails": (
        N,
        K.INIT_FAILED,
        "workers.podTemplate.spec.initContainers[fetch]",
        ("exit code 42: no such bucket",),
        ("fetch",),
    ),
    "init-command": (
        N,
        K.NO_COMMAND,
        "workers.podTemplate.spec.initContainers[fetch]",
        (),
        ("/no/such/command",),
    ),
    "init-image": (
        N,
        K.REGISTRY_AWAY,
        "workers.podTemplate.spec.initContainers[fetch].image",
        (),
        ("no-such-image:9",),
    ),
    "bad-image": (
        N,
        K.REGISTRY_AWAY,
        "image",
        ("cannot be pulled",),
        ("spec.image", "localhost/no-such-trainer:9"),
    ),
    "no-configmap": (N, K.NO_CONFIG_MAP, "workers.podTemplate", (), ("ConfigMap settings",)),
    "no-secret": (N, K.NO_SECRET, "workers.podTemplate", (), ("Secret hub",)),
    "wrong-key": (
        N,
        K.NO_SECRET,
        "workers.podTemplate",
        ("couldn't find key t",),
        ("key t to the Secret hub,",),
    ),
    "no-disk": (
        N,
        K.CONTAINER,
        "checkpoint.uri",
        ("error mounting",),
        ("checkpoint.uri (file:///proc/nowhere)",),
    ),
    "oom": (N, K.OUT_OF_MEMORY, "workers.resources.limits.memory", ("OOMKilled",), ("64Mi now",)),
    "crashes": (N, K.CRASH, "entrypoint", ("exit code 1: cannot read the licence",), ("your code",)),
    "hangs": (N, K.NOT_JOINED, "entrypoint", ('log is "waiting for a lock"',), ("hangs-worker-0",)),
    "name-taken": (N, K.NAME_TAKEN, "", ("Service name-taken-server",), ("Service name-taken-server",)),
    "bad-template": (
        N,
        K.INVALID_POD_TEMPLATE,
        "workers.podTemplate.spec.volumes",
        ('"Data"',),
        ("workers.podTemplate",),
    ),
    "no-source": (N, K.NO_SOURCE, "sourceFrom.configMap", (), ("ConfigMap code",)),
    "elsewhere": (N, K.MANAGED_ELSEWHERE, "managedBy", ("team.example.com/own",), ("managedBy",)),
    "queued": ("waiting in a queue", K.QUEUE, "scheduling.queueName", ("queue team-a",), ("team-a",)),
    "suspended": ("suspended", K.SUSPENDED, "runPolicy.suspend", (), ("false",)),
    "raises": (F, K.ENTRYPOINT, "entrypoint", ("(bad.py:4)",), ("spec.entrypoint (bad:task)", "anew")),
    "no-module": (F, K.ENTRYPOINT, "entrypoint", ("nowhere",), ("module nowhere",)),
    "no-spec-field": (F, K.ENTRYPOINT, "args.model", ("allowed are cnn, mlp",), ("args.model (none)",)),
    "spent": (F, K.CRASH, "entrypoint", ("cannot read the licence",), ("anew",)),
    "spent-oom": (
        F,
        K.OUT_OF_MEMORY,
        "workers.resources.limits.memory",
        ("OOMKilled",),
        ("64Mi now", "anew"),
    ),
    "server-spent": (F, K.SERVERS_SPENT, "", ("server-spent-server-0",), ("server-spent-server-0", "anew")),
    "deadline": (
        F,
        K.DEADLINE,
        "runPolicy.activeDeadlineSeconds",
        ("3 s",),
        ("runPolicy.activeDeadlineSeconds", "anew"),
    ),
    "startup": (
        F,
        K.SELECTOR,
        "workers.podTemplate.spec.nodeSelector",
        ("20 s: no node takes",),
        ("gpu=h200", "anew"),
    ),
    "diverged": (F, K.DIVERGED, "optimizer.learningRate", (), ("optimizer.learningRate", "anew")),
    "unevaluated": (F, K.EVALUATION_FAILED, "entrypoint", ("no file labels.csv",), ("evaluate", "anew")),
    "slow-worker": (
        S,
        K.SLOW_WORKER,
        "workers.resources",
        ("slow-worker-worker-1", "times as long"),
        ("node of worker 1",),
    ),
    "hung-worker": (
        S,
        K.HUNG_WORKER,
        "workers.progressDeadlineSeconds",
        ("worker 1",),
        ("worker 1 waits for",),
    ),
    "fewer": (
        S,
        K.FEWER_WORKERS,
        "workers.replicas",
        ("1 of 2 workers", "exceeded quota: two"),
        ("ResourceQuota two",),
    ),
    "nan": (
        D,
        K.PUSHES_REFUSED,
        "optimizer.learningRate",
        ("worker 1",),
        ("worker 1", "optimizer.learningRate"),
    ),
    "bad-evaluate": (D, K.EVALUATION_FAILING, "entrypoint", ("(bad.py:5)",), ("spec.entrypoint (bad:task)",)),
    "fine": (G, K.TRAINS, "", ("2 of 2 workers", "samples/s", "loss"), ()),
    "done": (G, K.DONE, "", ("stop rule is met after", "updates", "accuracy"), ()),
}


def row(name: str) -> Row:
    verdict, kind, field, says, fix = _TABLE[name]
    facts, now = real(name)
    return Row(facts, verdict, kind, field, says, fix, now)


REAL = {name: row(name) for name in _TABLE}
