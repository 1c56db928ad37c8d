"""The parameter servers: a headless Service and a StatefulSet with a pod a shard.

A StatefulSet gives each shard one stable name and at most one pod, which is what parameters need. All pods
start at once (Parallel), and the Service answers for pods that are not ready yet: shards find each other
while they start. `OnDelete` keeps a changed template, as after an upgrade of the operator, from restarting
servers of a running job.
"""

from __future__ import annotations

from typing import Any

from asgd_operator import constants as c
from asgd_operator.constants import Role
from asgd_operator.render import env, names, object_meta, page, pod
from asgd_operator.render.model import Manifest, Scope

GRACE_SECONDS = 120
"""Time for the final checkpoint after SIGTERM; a `podTemplate` may give more."""
DEFAULT_RESOURCES: dict[str, Any] = {"requests": {"cpu": "100m", "memory": "128Mi"}}
"""A server that asked for nothing would be the first to be evicted, and all workers wait for it."""


def service(scope: Scope) -> Manifest:
    """The headless Service that gives every shard its DNS name."""
    selector = object_meta.selector(scope.owner.name, Role.SERVER)
    ports = [
        {"name": c.EXCHANGE_PORT_NAME, "port": c.EXCHANGE_PORT, "protocol": "TCP"},
        {"name": c.BULK_PORT_NAME, "port": c.BULK_PORT, "protocol": "TCP"},
        {"name": c.METRICS_PORT_NAME, "port": scope.spec.metrics.port, "protocol": "TCP"},
    ]
    if page.wanted(scope):
        ports.append({"name": c.PAGE_PORT_NAME, "port": c.PAGE_PORT, "protocol": "TCP"})
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": object_meta.metadata(scope, names.child(scope.owner.name, Role.SERVER), Role.SERVER),
        "spec": {
            "clusterIP": "None",
            "publishNotReadyAddresses": True,
            "selector": selector,
            "ports": ports,
        },
    }


def servers(scope: Scope, replicas: int) -> Manifest:
    """The StatefulSet; `replicas` is the number of shards, or 0 while the job is suspended."""
    name = names.child(scope.owner.name, Role.SERVER)
    return {
        "apiVersion": "apps/v1",
        "kind": "StatefulSet",
        "metadata": object_meta.metadata(scope, name, Role.SERVER),
        "spec": {
            "replicas": replicas,
            "serviceName": name,
            "podManagementPolicy": "Parallel",
            "updateStrategy": {"type": "OnDelete"},
            "revisionHistoryLimit": 2,
            "selector": {"matchLabels": object_meta.selector(scope.owner.name, Role.SERVER)},
            "template": pod.template(scope, _plan(scope)),
        },
    }


def _plan(scope: Scope) -> pod.PodPlan:
    server = scope.spec.parameter_server
    resources = server.resources or DEFAULT_RESOURCES
    mounts = _mounts(scope)
    shown = page.wanted(scope)
    return pod.PodPlan(
        role=Role.SERVER,
        image=scope.settings.server_image,
        resources=resources,
        grace_seconds=GRACE_SECONDS,
        restart_policy="Always",
        template=server.pod_template,
        priority_class=server.priority_class_name,
        mounts=mounts + pod.shared_memory(scope) + pod.recording(scope, Role.SERVER),
        probes={
            "startupProbe": pod.probe("/healthz", period=2, failures=150),
            "readinessProbe": pod.probe("/readyz", period=2, failures=2),
            "livenessProbe": pod.probe("/healthz", period=10, failures=6),
        },
        extra={"topologySpreadConstraints": [_spread(scope)]},
        beside=(page.container(scope, resources, mounts),) if shown else (),
        volumes=page.volumes(scope) if shown else (),
    )


def _mounts(scope: Scope) -> tuple[pod.Mount, ...]:
    mounts = (
        pod.live(scope),
        # In memory: parameters kept there outlive a restart of the container, and nothing is written to a
        # disk.
        pod.Mount("tmp", "/tmp", {"emptyDir": {"medium": "Memory"}}),
    )
    directory = env.checkpoint_dir(scope)
    return mounts if directory is None else (*mounts, checkpoint_mount(scope, directory))


def checkpoint_mount(scope: Scope, directory: str) -> pod.Mount:
    """The volume of the checkpoint store."""
    volume = scope.spec.checkpoint.volume
    if volume is not None and volume.pvc:
        return pod.Mount("checkpoint", directory, {"persistentVolumeClaim": {"claimName": volume.pvc}})
    empty = (volume.empty_dir if volume is not None else None) or {}
    return pod.Mount("checkpoint", directory, {"emptyDir": empty})


def _spread(scope: Scope) -> Manifest:
    """One node lost should cost one shard; soft, so that a single node still runs everything."""
    return {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "labelSelector": {"matchLabels": object_meta.selector(scope.owner.name, Role.SERVER)},
    }
