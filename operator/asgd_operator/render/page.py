"""The container that serves a job's page, beside shard 0 and never in the server's process.

A plain container, not a restartable init container: it must not hold back the start of the server, and the kubelet
starts it again alone, whatever it ends with. It has no probe, and its pod is judged without it (`engine/views.py`). A
StatefulSet has one template, so it stands beside each shard; where there is no shard 0 it only waits (`asgd page`).

It holds the keys of clients, as workers do, and not those of servers.
"""

from __future__ import annotations

from typing import Any

from asgd_operator import constants as c
from asgd_operator.constants import Role
from asgd_operator.render import env, names, pod
from asgd_operator.render.model import Manifest, Scope

CONFIG_VOLUME, FILES_VOLUME = "page-config", "page"
REQUESTS = {"cpu": "20m", "memory": "64Mi"}
LIMITS = {"cpu": "500m", "memory": "256Mi"}
"""Only of what the server has a limit of: namespaces whose quota asks for limits ask for those of every container."""


def wanted(scope: Scope) -> bool:
    """Whether the job has a page."""
    given = scope.spec.page
    return scope.settings.page if given is None else given.enabled


def container(scope: Scope, server: dict[str, Any], mounts: tuple[pod.Mount, ...]) -> Manifest:
    """It, beside a server with these resources and mounts."""
    shared = [mount for mount in mounts if mount.name in ("live", "checkpoint")]
    return {
        "name": c.PAGE_CONTAINER,
        "image": _image(scope),
        "imagePullPolicy": scope.settings.image_pull_policy,
        "command": ["asgd", "page"],
        "env": env.of_page(scope),
        "ports": [{"name": c.PAGE_PORT_NAME, "containerPort": c.PAGE_PORT, "protocol": "TCP"}],
        "resources": _resources(server),
        "securityContext": pod.security(),
        "volumeMounts": [
            {"name": CONFIG_VOLUME, "mountPath": c.CONFIG_DIR, "readOnly": True},
            {"name": FILES_VOLUME, "mountPath": c.PAGE_DIR},
            *(pod.mounted(mount) for mount in shared),
        ],
    }


def volumes(scope: Scope) -> tuple[Manifest, ...]:
    """What it mounts beside what the server has.

    NB: a Secret that an earlier version has made holds no token, which must not keep the server's pod from starting.
    """
    config = env.config_volume(scope, Role.WORKER)
    token = {"key": c.PAGE_TOKEN, "path": c.PAGE_TOKEN_PATH, "mode": 0o440}
    optional = {"secret": {"name": names.keys(scope.owner), "items": [token], "optional": True}}
    sources = [*config["projected"]["sources"], optional]
    projected = {**config["projected"], "sources": sources}
    return (
        {"name": CONFIG_VOLUME, "projected": projected},
        {"name": FILES_VOLUME, "emptyDir": {"sizeLimit": "128Mi"}},
    )


def _image(scope: Scope) -> str:
    """The server's, for both speak one protocol."""
    spec = scope.spec.parameter_server.pod_template.get("spec")
    given = spec.get("containers") if isinstance(spec, dict) else None
    own = [item for item in given or () if isinstance(item, dict) and item.get("name") == c.CONTAINER]
    return next((str(item["image"]) for item in own if item.get("image")), scope.settings.server_image)


def _resources(server: dict[str, Any]) -> Manifest:
    """NB: a pod of the class Guaranteed stays one: where a server asks for all of its limit, so does the page."""
    limited = {kind: value for kind, value in (server.get("limits") or {}).items() if kind in LIMITS}
    asked = {**limited, **(server.get("requests") or {})}
    requests = {
        kind: LIMITS[kind] if kind in limited and asked[kind] == limited[kind] else request
        for kind, request in REQUESTS.items()
    }
    limits = {kind: LIMITS[kind] for kind in limited}
    return {"requests": requests} | ({"limits": limits} if limits else {})
