"""Brings the model of a job here: where its checkpoints are decides how, and that is told before anything is copied.

A checkpoint is the servers' parts, which are put together here; each byte is proved by its checksums. It holds the
trained parameters. Buffers, as those of batch norm, are in the best model alone (`checkpoint.best`), which is whole.
"""

from __future__ import annotations

import secrets
import tarfile
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from asgd.client.access import CONTAINER, Access, Document
from asgd.client.documents import is_ready, name_of, part, shard_pod, state_of
from asgd.client.errors import ApiError
from asgd.errors import UserError

DEFAULT_DIR = "/var/lib/asgd/checkpoints"
"""Where servers keep checkpoints without a `spec.checkpoint.uri`."""
_LOCAL = ("", "file", "local")
_POD_SECONDS = 120.0
_LIFE_SECONDS = 1800
"""How long a helper pod lives at most, whatever becomes of us."""
PACK = """
import io, json, os, sys, tarfile
root, which, wanted = sys.argv[1:4]
def saves():
    return sorted(n for n in os.listdir(root) if n.isdigit())
def whole(n):
    return any(f.startswith("manifest") for f in os.listdir(os.path.join(root, n)))
if which == "best":
    names = ["best"] if os.path.exists(os.path.join(root, "best", "best.json")) else []
else:
    names = [n for n in saves() if whole(n) and (not wanted or n == wanted)][-1:]
out = tarfile.open(fileobj=sys.stdout.buffer, mode="w|")
for n in names:
    out.add(os.path.join(root, n), n)
out.close()
"""
"""Runs in a pod: packs the newest whole save, or the one that is wanted, or the best model."""


@dataclass(frozen=True, slots=True)
class Mounted:
    """A claim, and where a helper pod mounts it."""

    claim: str
    path: str


@dataclass(frozen=True, slots=True)
class Way:
    """How a job's checkpoints are reached."""

    how: str
    """store: from here, by its URI. pods: in the servers' own pods. claim: on a claim, through a pod that mounts it."""
    place: str
    """The URI, or the folder in the pods."""
    pods: tuple[str, ...] = ()
    """Whose folders make the store together, shard 0 first."""
    claim: str = ""

    def __str__(self) -> str:
        if self.how == "store":
            return f"from {self.place}, read from here"
        if self.how == "pods":
            return f"from {self.place} in {', '.join(self.pods)}"
        return f"from {self.place} on claim {self.claim}, through a pod that mounts it for a moment"


def way(job: Document, servers: Sequence[Document]) -> Way:
    """Pure. `servers`: the pods of the parameter servers. Raises UserError where nothing is left."""
    name, checkpoint = name_of(job), part(job, "spec", "checkpoint") or {}
    uri, volume = str(checkpoint.get("uri") or ""), checkpoint.get("volume") or {}
    if urlsplit(uri).scheme not in _LOCAL:
        return Way("store", uri)
    folder = urlsplit(uri).path or DEFAULT_DIR
    running = {name_of(pod) for pod in servers if is_ready(pod) or state_of(pod) == "Running"}
    claim = str(volume.get("pvc") or "")
    if claim:
        first = shard_pod(job)
        return Way("pods", folder, (first,)) if first in running else Way("claim", folder, (), claim)
    shards = int(part(job, "spec", "parameterServer", "shards") or 1)
    pods = tuple(shard_pod(job, shard) for shard in range(shards))
    missing = [pod for pod in pods if pod not in running]
    if missing:
        raise UserError(
            f"the checkpoints of {name} were in its servers' pods and are gone with {', '.join(missing)}: it has"
            " neither a claim nor a bucket that would have outlived them (kubectl asgd submit --checkpoints CLAIM)"
        )
    return Way("pods", folder, pods)


def fetch(access: Access, job: Document, way_: Way, which: str, folder: Path) -> str:
    """Copies a checkpoint (`which`: latest) or the best model into `folder`; returns the URI of the store to read."""
    if way_.how == "store":
        return way_.place
    if way_.how == "pods":
        _copy_all(access, way_.pods, way_.place, which, folder)
    else:
        with helper(access, job, [Mounted(way_.claim, way_.place)]) as pod:
            _copy_all(access, (pod,), way_.place, which, folder)
    return str(folder)


def _copy_all(access: Access, pods: Sequence[str], place: str, which: str, folder: Path) -> None:
    save = ""
    for pod in pods:
        names = unpack(access.execute(pod, ["python", "-c", PACK, place, which, save]), folder)
        if not names:
            what = "best model" if which == "best" else f"checkpoint {save}".strip()
            raise UserError(f"{place} in pod {pod} holds no {what} yet")
        save = save or sorted(names)[-1]


def unpack(pieces: Iterator[bytes], folder: Path, what: str = "the checkpoint") -> set[str]:
    """Writes a tar's files below `folder`, and nothing outside of it; returns the names of its folders."""
    names = set()
    with tempfile.TemporaryFile() as file:
        for piece in pieces:
            file.write(piece)
        file.seek(0)
        try:
            with tarfile.open(fileobj=file) as tar:
                for member in tar:
                    names.add(member.name.split("/")[0])
                    tar.extract(member, folder, filter="data")
        except (tarfile.TarError, OSError) as error:
            raise UserError(f"the copy of {what} cannot be read: {error}") from error
    return names


@contextmanager
def helper(access: Access, job: Document, mounts: Sequence[Mounted]) -> Iterator[str]:
    """A pod that mounts claims of the job, until the block ends."""
    pod = helper_pod(job, template_of(access, job), mounts, secrets.token_hex(3))
    access.create(pod)
    name = name_of(pod)
    try:
        _await(access, name)
        yield name
    finally:
        access.delete("Pod", name)


def template_of(access: Access, job: Document) -> Document:
    """Of the servers, else of the workers: the image that this job has run with. Raises UserError without any."""
    for kind, role in (("StatefulSet", "server"), ("Job", "worker")):
        found = access.find(kind, f"{name_of(job)}-{role}")
        if found is not None:
            return dict(found["spec"]["template"]["spec"])
    raise UserError(f"{name_of(job)} has neither servers nor workers left, whose image could read its claim")


def helper_pod(job: Document, template: Document, mounts: Sequence[Mounted], token: str) -> Document:
    """Pure: as little as can read the claims, under the `restricted` standard, with the servers' user."""
    main = next(each for each in template["containers"] if each["name"] == CONTAINER)
    # NB: a claim that is mounted twice is one volume: of two, some drivers of storage never mount the second.
    volumes = {
        claim: f"claim-{number}" for number, claim in enumerate(dict.fromkeys(m.claim for m in mounts))
    }
    kept = ("securityContext", "imagePullSecrets", "nodeSelector", "tolerations", "serviceAccountName")
    container = {
        "name": CONTAINER,
        "image": main["image"],
        "command": ["python", "-c", f"import time; time.sleep({_LIFE_SECONDS})"],
        "resources": {"requests": {"cpu": "10m", "memory": "32Mi"}},
        "securityContext": main.get("securityContext") or {},
        "volumeMounts": [
            {"name": volumes[each.claim], "mountPath": each.path, "readOnly": True} for each in mounts
        ],
    }
    owner = {key: job[key] for key in ("apiVersion", "kind")} | {
        key: job["metadata"][key] for key in ("name", "uid")
    }
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": f"{name_of(job)}-model-{token}",
            "labels": {"app.kubernetes.io/part-of": "asgd", "app.kubernetes.io/component": "model"},
            "ownerReferences": [owner],
        },
        "spec": {
            **{key: template[key] for key in kept if template.get(key)},
            "restartPolicy": "Never",
            "activeDeadlineSeconds": _LIFE_SECONDS,
            "terminationGracePeriodSeconds": 0,
            "automountServiceAccountToken": False,
            "containers": [container],
            "volumes": [
                {"name": name, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}}
                for claim, name in volumes.items()
            ],
        },
    }


def _await(access: Access, name: str) -> None:
    """Until the helper pod runs. Raises ApiError with its state when it does not."""
    deadline = time.monotonic() + _POD_SECONDS
    while True:
        pod = access.get("Pod", name)
        if part(pod, "status", "phase") == "Running":
            return
        if time.monotonic() > deadline or part(pod, "status", "phase") == "Failed":
            scheduled: dict[str, Any] = next(
                (each for each in part(pod, "status", "conditions") or () if each["type"] == "PodScheduled"),
                {},
            )
            raise ApiError(
                f"error: pod {name}, which would read the claim, is {state_of(pod)}:"
                f" {scheduled.get('message') or part(pod, 'status', 'message') or 'no reason given'}"
            )
        time.sleep(0.5)
