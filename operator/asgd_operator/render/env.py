"""The contract with the trainer's containers, whole: command, environment, files and where they are mounted.

`asgd server`, `asgd worker` and `asgd evaluate` read nothing but these. Kept apart from the pod's shape, so
that a change of the contract is a change of this file.
"""

from __future__ import annotations

from urllib.parse import urlsplit

from asgd.errors import UserError
from asgd.spec.environment import HASH_SEED, Env
from asgd.tracing import settings
from asgd_operator import constants as c
from asgd_operator.constants import Role
from asgd_operator.render import names
from asgd_operator.render.model import Manifest, Scope

COMMAND = {
    Role.SERVER: ["asgd", "server"],
    Role.WORKER: ["asgd", "worker"],
    Role.EVALUATOR: ["asgd", "evaluate"],
}


def environment(scope: Scope, role: Role) -> list[Manifest]:
    """Environment of the main container of a role. Nothing here depends on a live field: pods never restart
    for one, and read them from a file."""
    servers = names.server_addresses(scope.owner, scope.spec.parameter_server.shards)
    common = {
        Env.JOB: f"{c.CONFIG_DIR}/{c.JOB_FILE}",
        Env.LIVE: f"{c.LIVE_DIR}/{c.LIVE_FILE}",
        Env.KEYS: f"{c.CONFIG_DIR}/{c.KEYS_PATH}",
        Env.SERVERS: ",".join(servers),
        Env.METRICS: f"0.0.0.0:{scope.spec.metrics.port}",
    }
    if scope.spec.exchange.shared_memory is not None and role is not Role.EVALUATOR:
        common[Env.SHM] = c.SHARED_MEMORY_DIR
    if scope.spec.record is not None and role is not Role.EVALUATOR:
        # NB: a job that was deleted and made again under its name has a UID of its own.
        common[Env.RECORD] = f"{c.RECORD_DIR}/replay/{scope.owner.name}-{scope.owner.uid}"
    values = common | (_server(scope) if role is Role.SERVER else {})
    if role is Role.EVALUATOR and scope.spec.checkpoint.best is not None:
        values |= _store(scope)
    return [
        *({"name": key.value, "value": value} for key, value in values.items()),
        {"name": Env.NODE.value, "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}},
        _index(role),
        # NB: an image without a passwd entry for the uid has no home and no user name; PyTorch's caches ask
        # for both.
        {"name": "HOME", "value": "/tmp"},
        {"name": "USER", "value": "asgd"},
        *({"name": name, "value": value} for name, value in HASH_SEED.items()),
        *(_tracing(scope) if role is not Role.EVALUATOR else ()),
    ]


def of_page(scope: Scope) -> list[Manifest]:
    """Environment of the container that serves the page. It asks the server beside it, by the pod's own loopback."""
    _, *others = names.server_addresses(scope.owner, scope.spec.parameter_server.shards)
    values = {
        Env.JOB: f"{c.CONFIG_DIR}/{c.JOB_FILE}",
        Env.KEYS: f"{c.CONFIG_DIR}/{c.KEYS_PATH}",
        Env.LIVE: f"{c.LIVE_DIR}/{c.LIVE_FILE}",
        Env.SERVERS: ",".join([f"tcp://127.0.0.1:{c.EXCHANGE_PORT}", *others]),
        Env.RUN: scope.owner.uid,
        Env.PAGE: f"0.0.0.0:{c.PAGE_PORT}",
        Env.PAGE_TOKEN: f"{c.CONFIG_DIR}/{c.PAGE_TOKEN_PATH}",
        Env.PAGE_FOLDER: checkpoint_dir(scope) or c.PAGE_DIR,
    }
    return [
        *({"name": key.value, "value": value} for key, value in values.items()),
        _index(Role.SERVER),
        {"name": "HOME", "value": c.PAGE_DIR},
    ]


def config_volume(scope: Scope, role: Role) -> Manifest:
    """Job file and keys as one projected volume: a Secret mounted inside a read-only ConfigMap would need a
    directory."""
    keys = c.SERVER_KEYS if role is Role.SERVER else c.CLIENT_KEYS
    job_file = {"key": c.JOB_FILE, "path": c.JOB_FILE}
    key_file = {"key": keys, "path": c.KEYS_PATH, "mode": 0o440}
    sources = [
        {"configMap": {"name": names.config(scope.owner.name, scope.spec_hash), "items": [job_file]}},
        {"secret": {"name": names.keys(scope.owner), "items": [key_file]}},
    ]
    return {"name": "config", "projected": {"defaultMode": 0o444, "sources": sources}}


def checkpoint_dir(scope: Scope) -> str | None:
    """Where a checkpoint volume is mounted; None when checkpoints go to an object store.

    Raises UserError when a volume is asked for under a URI that is no local path.
    """
    checkpoint = scope.spec.checkpoint
    if not checkpoint.uri:
        return c.DEFAULT_CHECKPOINT_DIR
    parts = urlsplit(checkpoint.uri)
    if parts.scheme in ("", "file") and parts.path.startswith("/") and parts.path.rstrip("/"):
        return parts.path.rstrip("/")
    if checkpoint.volume is not None:
        raise UserError(
            f"spec.checkpoint.uri: {checkpoint.uri!r} has no path to mount spec.checkpoint.volume at; "
            "use an absolute path such as file:///checkpoints, or remove the volume"
        )
    return None


def _tracing(scope: Scope) -> list[Manifest]:
    """OpenTelemetry's own variables: a user's pod template may say otherwise."""
    told = scope.settings.tracing
    if not told.endpoint:
        return []
    values = {
        settings.ENDPOINTS[-1]: told.endpoint,
        settings.SAMPLER: f"parentbased_{settings.RATIO}",
        settings.SAMPLER_ARG: f"{told.exchanges:g}",
        "OTEL_RESOURCE_ATTRIBUTES": f"k8s.namespace.name={scope.owner.namespace}",
    }
    return [{"name": name, "value": value} for name, value in values.items()]


def _server(scope: Scope) -> dict[Env, str]:
    return {
        Env.BIND: f"tcp://0.0.0.0:{c.EXCHANGE_PORT}",
        Env.BULK: f"tcp://0.0.0.0:{c.BULK_PORT}",
        **_store(scope),
    }


def _store(scope: Scope) -> dict[Env, str]:
    return {
        Env.CHECKPOINT: scope.spec.checkpoint.uri or f"file://{c.DEFAULT_CHECKPOINT_DIR}",
        # A restore that was asked for happens once in the job's life, not at each restart of a server.
        Env.RUN: scope.owner.uid,
    }


def _index(role: Role) -> Manifest:
    label = {
        Role.SERVER: "apps.kubernetes.io/pod-index",
        Role.WORKER: "batch.kubernetes.io/job-completion-index",
    }
    if role not in label:
        return {"name": Env.INDEX.value, "value": "0"}
    path = f"metadata.labels['{label[role]}']"
    return {"name": Env.INDEX.value, "valueFrom": {"fieldRef": {"fieldPath": path}}}
