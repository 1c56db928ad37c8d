"""Everything that keeps a job from starting, as its user meets it: what is wrong, and what the job is to say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Document = dict[str, Any]
_QUIET = {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


@dataclass(frozen=True)
class Cause:
    """`words` are all in the sentence on the AsgdJob; `before` is applied to the namespace first."""

    name: str
    what: str
    reason: str
    words: tuple[str, ...]
    spec: Document = field(default_factory=dict)
    before: tuple[Document, ...] = ()


def _pod(role: str, pod: Document, **more: Any) -> Document:
    size: Document = {"shards": 1} if role == "parameterServer" else {"replicas": 1}
    return {role: size | more | ({"podTemplate": {"spec": pod}} if pod else {})}


def _main(**fields: Any) -> Document:
    return {"containers": [{"name": "asgd", **fields}]}


def _init(image: str, *command: str) -> Document:
    found: Document = {"name": "fetch", "image": image, "securityContext": _QUIET}
    return {"initContainers": [found | ({"command": [*command]} if command else {})]}


def _mounted(volume: Document) -> Document:
    mounts = _main(volumeMounts=[{"name": "data", "mountPath": "/data"}])
    return {"volumes": [{"name": "data", **volume}], **mounts}


def _code(text: str) -> Document:
    return {"source": {"bad.py": text}, "entrypoint": "bad:task", "args": {}}


_CLAIM = {
    "apiVersion": "v1",
    "kind": "PersistentVolumeClaim",
    "metadata": {"name": "data"},
    "spec": {
        "storageClassName": "gold",
        "accessModes": ["ReadWriteOnce"],
        "resources": {"requests": {"storage": "1Gi"}},
    },
}
_QUOTA = {
    "apiVersion": "v1",
    "kind": "ResourceQuota",
    "metadata": {"name": "none"},
    "spec": {"hard": {"pods": "0"}},
}
_LIMITS = {
    "apiVersion": "v1",
    "kind": "LimitRange",
    "metadata": {"name": "small"},
    "spec": {"limits": [{"type": "Container", "max": {"memory": "100Mi"}}]},
}
_BOX = "localhost/busybox:1"

CAUSES = (
    Cause(
        "no-claim",
        "the claim of the checkpoint's volume is not there",
        "StorageNotFound",
        ("no PersistentVolumeClaim nowhere",),
        {"checkpoint": {"uri": "file:///c", "volume": {"pvc": "nowhere"}}},
    ),
    Cause(
        "no-data",
        "a claim in workers.podTemplate is not there",
        "Unschedulable",
        ('persistentvolumeclaim "data" not found',),
        _pod("workers", _mounted({"persistentVolumeClaim": {"claimName": "data"}})),
    ),
    Cause(
        "no-class",
        "a claim whose storage class is not there",
        "Unschedulable",
        ("unbound immediate PersistentVolumeClaims",),
        _pod("workers", _mounted({"persistentVolumeClaim": {"claimName": "data"}})),
        (_CLAIM,),
    ),
    Cause(
        "no-node",
        "a node selector that no node has",
        "Unschedulable",
        ("didn't match Pod's node affinity/selector",),
        _pod("workers", {"nodeSelector": {"gpu": "h200"}}),
    ),
    Cause(
        "no-memory",
        "a request of more memory than any node has",
        "Unschedulable",
        ("Insufficient memory",),
        _pod("workers", {}, resources={"requests": {"memory": "900Gi"}}),
    ),
    Cause(
        "no-gpu",
        "a GPU where there is none",
        "Unschedulable",
        ("Insufficient nvidia.com/gpu",),
        _pod("workers", {}, resources={"limits": {"nvidia.com/gpu": 1}}),
    ),
    Cause(
        "quota",
        "a ResourceQuota is used up",
        "PodsRefused",
        ("Pods of quota-server cannot be made", "exceeded quota: none"),
        before=(_QUOTA,),
    ),
    Cause(
        "limits",
        "more memory than the LimitRange allows",
        "PodsRefused",
        ("Pods of limits-server cannot be made", "maximum memory usage per Container is 100Mi"),
        _pod("parameterServer", {}, resources={"limits": {"memory": "1Gi"}}),
        (_LIMITS,),
    ),
    Cause(
        "privileged",
        "the namespace forbids privileged pods",
        "PodsRefused",
        ("Pods of privileged-worker cannot be made", "violates PodSecurity", "privileged"),
        _pod("workers", _main(securityContext={"privileged": True, "allowPrivilegeEscalation": True})),
    ),
    Cause(
        "no-account",
        "the workers' service account is not there",
        "PodsRefused",
        ("Pods of no-account-worker cannot be made", 'serviceaccount "trainer" not found'),
        _pod("workers", {"serviceAccountName": "trainer"}),
    ),
    Cause(
        "no-ps-account",
        "the parameter servers' service account is not there",
        "PodsRefused",
        ("Pods of no-ps-account-server cannot be made", 'serviceaccount "trainer" not found'),
        _pod("parameterServer", {"serviceAccountName": "trainer"}),
    ),
    Cause(
        "no-priority",
        "a priority class that is not there",
        "PodsRefused",
        ("Pods of no-priority-server cannot be made", "no PriorityClass with name no-such-class was found"),
        _pod("parameterServer", {}, priorityClassName="no-such-class"),
    ),
    Cause(
        "init-fails",
        "an init container of the workers fails",
        "InitContainerFailed",
        ("Init container fetch of init-fails-worker-0", "exit code 42: no such bucket"),
        _pod("workers", _init(_BOX, "sh", "-c", "echo no such bucket; exit 42")),
    ),
    Cause(
        "ps-init-fails",
        "an init container of the parameter servers fails",
        "InitContainerFailed",
        ("Init container fetch of ps-init-fails-server-0", "exit code 42: no such bucket"),
        _pod("parameterServer", _init(_BOX, "sh", "-c", "echo no such bucket; exit 42")),
    ),
    Cause(
        "init-command",
        "an init container's command is not in its image",
        "InitContainerFailed",
        ("/no/such/command", "no such file or directory"),
        _pod("workers", _init(_BOX, "/no/such/command")),
    ),
    Cause(
        "init-image",
        "the image of an init container is not there",
        "ImagePullError",
        ("The image of init container fetch of init-image-worker-0", "localhost/no-such-image:9"),
        _pod("workers", _init("localhost/no-such-image:9")),
    ),
    Cause(
        "no-configmap",
        "a ConfigMap that is mounted is not there",
        "ContainerError",
        ('configmap "settings" not found',),
        _pod("workers", _mounted({"configMap": {"name": "settings"}})),
    ),
    Cause(
        "no-env-configmap",
        "a ConfigMap that variables come from is not there",
        "ContainerError",
        ('configmap "settings" not found',),
        _pod("workers", _main(envFrom=[{"configMapRef": {"name": "settings"}}])),
    ),
    Cause(
        "no-secret",
        "a Secret that a variable comes from is not there",
        "ContainerError",
        ('secret "hub" not found',),
        _pod(
            "workers",
            _main(env=[{"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "hub", "key": "t"}}}]),
        ),
    ),
    Cause(
        "bad-image",
        "the image is not there",
        "ImagePullError",
        ("localhost/no-such-trainer:9",),
        {"image": "localhost/no-such-trainer:9"},
    ),
    Cause(
        "oom",
        "a worker needs more memory than its limit",
        "CrashLoop",
        ("killed for it used more memory than its limit (OOMKilled)", "workers.resources.limits.memory"),
        _pod("workers", {}, resources={"limits": {"memory": "64Mi"}}),
    ),
    Cause(
        "crashes",
        "a worker's process ends by itself, again and again",
        "CrashLoop",
        ("exit code 1: cannot read the licence",),
        _code("import os\ndef task():\n    os.write(2, b'cannot read the licence\\n')\n    os._exit(1)\n"),
    ),
    Cause(
        "raises",
        "the entrypoint raises, or calls sys.exit",
        "FatalExitCode",
        ("cannot read the licence", "spec.entrypoint: bad:task failed: SystemExit: 1 (bad.py:4)"),
        _code("import sys\ndef task():\n    print('cannot read the licence', flush=True)\n    sys.exit(1)\n"),
    ),
    Cause(
        "no-module",
        "the entrypoint is not in the image",
        "FatalExitCode",
        ("spec.entrypoint", "nowhere"),
        {"entrypoint": "nowhere:task", "args": {}},
    ),
    Cause(
        "hangs",
        "the entrypoint never returns",
        "NotJoined",
        ("hangs-worker-0", "runs and is not ready: its entrypoint may not have returned"),
        _code(
            "import time\ndef task():\n    print('waiting for a lock', flush=True)\n    time.sleep(100000)\n"
        ),
    ),
)
