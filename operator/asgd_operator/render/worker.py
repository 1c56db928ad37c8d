"""The workers: one Indexed Job with `parallelism = completions = replicas`, so that scaling is two numbers.

The Job controller replaces, counts and finishes pods better than own code would. `backoffLimitPerIndex` gives
every worker its own budget, and without `maxFailedIndexes` a worker that spent it stops no other one. The
failure policy: evictions and preemptions cost nothing; a worker that drained on SIGTERM costs nothing; a
fatal exit code (the user's input, diverged data) would come back in every worker, so it ends the whole Job. A
failure policy allows only `podReplacementPolicy: Failed`; pods stuck on a dead node are therefore removed by
the operator.
"""

from __future__ import annotations

import math

from asgd import exitcodes
from asgd_operator import constants as c
from asgd_operator.constants import Role
from asgd_operator.render import gang, names, object_meta, pod
from asgd_operator.render.model import Manifest, Scope

EXIT_MARGIN_SECONDS = 5
"""What a worker gets beyond `drainSeconds` to say goodbye and exit before it is killed."""

PROBES: Manifest = {
    "startupProbe": pod.probe("/healthz", period=5, failures=120),
    "readinessProbe": pod.probe("/readyz", period=5, failures=3),
    # NB: generous, for a compile may hold the interpreter's lock; a worker that hangs for minutes is
    # replaced.
    "livenessProbe": pod.probe("/healthz", period=30, failures=10),
}


def workers(scope: Scope, replicas: int, suspended: bool) -> Manifest:
    """The Job of all workers."""
    name = names.child(scope.owner.name, Role.WORKER)
    metadata = object_meta.metadata(scope, name, Role.WORKER, object_meta.queue_labels(scope))
    if scope.spec.scheduling.queue_name:
        metadata["annotations"][c.ELASTIC_ANNOTATION] = "true"
    spec = {
        "parallelism": replicas,
        "completions": replicas,
        "completionMode": "Indexed",
        "backoffLimitPerIndex": scope.spec.workers.backoff_limit_per_index,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": failure_policy(scope),
        **suspension(scope, suspended),
        "template": pod.template(scope, _plan(scope)),
    }
    return {"apiVersion": "batch/v1", "kind": "Job", "metadata": metadata, "spec": spec}


def suspension(scope: Scope, suspended: bool) -> Manifest:
    """`spec.suspend` of a Job as it is made; a queue changes its own.

    NB: also where Kueue is away or does not manage the namespace, a job that names a queue starts nothing.
    """
    return {"suspend": suspended or bool(scope.spec.scheduling.queue_name)}


def failure_policy(scope: Scope) -> Manifest:
    """The first rule that matches decides; what none matches counts against the budget."""
    rules: list[Manifest] = [
        {"action": "Ignore", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
        _on_exit("Ignore", (exitcodes.DRAINED,)),
    ]
    fatal = scope.spec.workers.exit_codes.fatal
    return {"rules": rules + ([_on_exit("FailJob", fatal)] if fatal else [])}


def image(scope: Scope) -> str:
    """The image with the user's code: his own, or the installation's trainer image."""
    return scope.spec.image or scope.settings.trainer_image


def mounts(scope: Scope) -> tuple[pod.Mount, ...]:
    """Live fields, scratch for downloads and compile caches, and shared memory for DataLoader processes."""
    return (
        pod.live(scope),
        pod.Mount("tmp", "/tmp", {"emptyDir": {}}),
        pod.Mount("shm", "/dev/shm", {"emptyDir": {"medium": "Memory"}}),
    )


def grace_seconds(scope: Scope) -> int:
    """Time between SIGTERM and SIGKILL: the drain, and a margin to exit after it."""
    return math.ceil(scope.spec.workers.drain_seconds) + EXIT_MARGIN_SECONDS


def _plan(scope: Scope) -> pod.PodPlan:
    return pod.PodPlan(
        role=Role.WORKER,
        image=image(scope),
        resources=scope.spec.workers.resources,
        grace_seconds=grace_seconds(scope),
        restart_policy="Never",
        template=gang.member(scope, scope.spec.workers.pod_template),
        devices=scope.spec.workers.devices,
        mounts=mounts(scope) + pod.shared_memory(scope) + pod.recording(scope, Role.WORKER),
        probes=PROBES,
    )


def _on_exit(action: str, codes: tuple[int, ...]) -> Manifest:
    # NB: the API wants the codes sorted and unique, and only those of our container: a sidecar's exit means
    # nothing.
    values = sorted(set(codes))
    return {
        "action": action,
        "onExitCodes": {"containerName": c.CONTAINER, "operator": "In", "values": values},
    }
