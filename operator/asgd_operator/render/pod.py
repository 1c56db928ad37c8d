"""The pod template of every role: security, volumes, probes, scheduling, then the user's `podTemplate` merged
over it.

Every pod passes the `restricted` pod security standard with a read-only root. What a user's template may not
take away are the labels that select the pod and, for the roles that need it, the restart policy.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from asgd.errors import UserError
from asgd.spec.types import Devices
from asgd_operator import constants as c
from asgd_operator.constants import Role
from asgd_operator.render import env, gang, names, object_meta
from asgd_operator.render.merge import merge
from asgd_operator.render.model import Manifest, Scope

NODE_LOSS_TOLERATION_SECONDS = 30
"""How long a pod stays bound to a node that does not answer, instead of the cluster's 300 s."""


@dataclass(frozen=True)
class Mount:
    """A volume of a pod and where its container sees it."""

    name: str
    path: str
    source: Manifest
    """The volume without its name, as `{"emptyDir": {}}`."""
    read_only: bool = False


@dataclass(frozen=True)
class PodPlan:
    """What one role asks of its pods; `template` builds the rest, which all roles share."""

    role: Role
    image: str
    resources: dict[str, Any]
    grace_seconds: int
    restart_policy: str
    template: dict[str, Any]
    """The user's `podTemplate`."""
    priority_class: str = ""
    devices: Devices = field(default_factory=Devices)
    mounts: tuple[Mount, ...] = ()
    probes: Manifest = field(default_factory=dict)
    extra: Manifest = field(default_factory=dict)
    """Further fields of the pod's spec."""
    beside: tuple[Manifest, ...] = ()
    """Further containers, whole."""
    volumes: tuple[Manifest, ...] = ()
    """What only these mount."""


def template(scope: Scope, plan: PodPlan) -> Manifest:
    """`spec.template` of a role's workload. Raises UserError when the user's template is no pod template."""
    _check(plan)
    labels = object_meta.labels(scope.owner.name, plan.role)
    annotations = {c.SPEC_HASH: scope.spec_hash} | ({c.DEFAULT_CONTAINER: c.CONTAINER} if plan.beside else {})
    base = {
        "metadata": {"labels": labels, "annotations": annotations},
        "spec": _spec(scope, plan),
    }
    merged: Manifest = merge(base, plan.template)
    merged["metadata"]["labels"] = {**(merged["metadata"].get("labels") or {}), **labels}
    merged["spec"]["restartPolicy"] = plan.restart_policy
    _let_speak(merged["spec"])
    return merged


def _let_speak(spec: Manifest) -> None:
    """What a container prints before it fails stands in the pod's status then, and so in the job's."""
    for container in [*(spec.get("initContainers") or ()), *(spec.get("containers") or ())]:
        if isinstance(container, dict) and isinstance(container.get("name"), str):
            container.setdefault("terminationMessagePolicy", "FallbackToLogsOnError")


def shared_memory(scope: Scope) -> tuple[Mount, ...]:
    """The volume in which servers and workers of one node find each other, if the job names one.

    A claim, for nothing else is shared between pods of the `restricted` standard: an emptyDir is each pod's own,
    and a hostPath is refused. Whose memory it is the trainer proves by itself (`wire/lanes/shm.py`).
    """
    memory = scope.spec.exchange.shared_memory
    if memory is None:
        return ()
    source = {"persistentVolumeClaim": {"claimName": memory.pvc}}
    return (Mount("shared-memory", c.SHARED_MEMORY_DIR, source),)


def live(scope: Scope) -> Mount:
    """The live fields, as a directory, so that edits reach a running container."""
    source = {"configMap": {"name": names.live(scope.owner.name)}}
    return Mount("live", c.LIVE_DIR, source, read_only=True)


def recording(scope: Scope, role: Role) -> tuple[Mount, ...]:
    """Where a process writes down what reached it, if the job is recorded.

    NB: a claim that the servers have for their checkpoints already is mounted twice, and is one volume: of two, some
    drivers of storage never mount the second.
    """
    record, volume = scope.spec.record, scope.spec.checkpoint.volume
    if record is None:
        return ()
    shared = role is Role.SERVER and volume is not None and volume.pvc == record.pvc
    source = {"persistentVolumeClaim": {"claimName": record.pvc}}
    return (Mount("checkpoint" if shared else "recording", c.RECORD_DIR, source),)


def probe(path: str, period: int, failures: int) -> Manifest:
    """An HTTP probe of the metrics port: given up after `failures` times `period` seconds."""
    request = {"path": path, "port": c.METRICS_PORT_NAME}
    return {"httpGet": request, "periodSeconds": period, "failureThreshold": failures, "timeoutSeconds": 5}


def _spec(scope: Scope, plan: PodPlan) -> Manifest:
    volumes = {mount.name: {"name": mount.name, **mount.source} for mount in plan.mounts}
    spec: Manifest = {
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "restartPolicy": plan.restart_policy,
        "terminationGracePeriodSeconds": plan.grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": c.UID,
            "runAsGroup": c.UID,
            "fsGroup": c.UID,
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "tolerations": [_node_loss(condition) for condition in ("not-ready", "unreachable")],
        "containers": [_container(scope, plan), *plan.beside],
        "volumes": [env.config_volume(scope, plan.role), *volumes.values(), *plan.volumes],
        **plan.extra,
    }
    optional = {
        "schedulerName": gang.scheduler(scope),
        "priorityClassName": plan.priority_class,
        "imagePullSecrets": [{"name": name} for name in scope.settings.image_pull_secrets],
    }
    return spec | {key: value for key, value in optional.items() if value}


def _container(scope: Scope, plan: PodPlan) -> Manifest:
    ports = [{"name": c.METRICS_PORT_NAME, "containerPort": scope.spec.metrics.port, "protocol": "TCP"}]
    if plan.role is Role.SERVER:
        own = ((c.EXCHANGE_PORT_NAME, c.EXCHANGE_PORT), (c.BULK_PORT_NAME, c.BULK_PORT))
        ports[:0] = [{"name": name, "containerPort": port, "protocol": "TCP"} for name, port in own]
    mounts = [{"name": "config", "mountPath": c.CONFIG_DIR, "readOnly": True}]
    mounts += [mounted(mount) for mount in plan.mounts]
    return {
        "name": c.CONTAINER,
        "image": plan.image,
        "imagePullPolicy": scope.settings.image_pull_policy,
        "command": env.COMMAND[plan.role],
        "env": env.environment(scope, plan.role),
        "ports": ports,
        "resources": _resources(plan),
        "securityContext": security(),
        "volumeMounts": mounts,
        **plan.probes,
    }


def security() -> Manifest:
    """Of every container."""
    return {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }


def _resources(plan: PodPlan) -> Manifest:
    """Devices are extended resources: their limit is their request, and whole by definition."""
    if not plan.devices.count:
        return plan.resources
    limits = {**plan.resources.get("limits", {}), plan.devices.resource_name: str(plan.devices.count)}
    return {**plan.resources, "limits": limits}


def mounted(mount: Mount) -> Manifest:
    """As a container sees it."""
    read_only = {"readOnly": True} if mount.read_only else {}
    return {"name": mount.name, "mountPath": mount.path, **read_only}


def _node_loss(condition: str) -> Manifest:
    return {
        "key": f"node.kubernetes.io/{condition}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": NODE_LOSS_TOLERATION_SECONDS,
    }


def _check(plan: PodPlan) -> None:
    where = "parameterServer" if plan.role is Role.SERVER else "workers"
    unknown = plan.template.keys() - {"metadata", "spec"}
    if unknown:
        raise UserError(
            f"spec.{where}.podTemplate has the field {sorted(unknown)[0]!r}; allowed are 'metadata' "
            "and 'spec', as in a Deployment's template"
        )
    metadata = plan.template.get("metadata", {})
    values = {"metadata": metadata, "spec": plan.template.get("spec", {})}
    if isinstance(metadata, dict):
        values["metadata.labels"] = metadata.get("labels") or {}
    for key, value in values.items():
        if not isinstance(value, dict):
            raise UserError(f"spec.{where}.podTemplate.{key} must be a mapping, not {value!r}")
