"""Which cluster, who we are there, and in which namespace: from a kubeconfig as kubectl reads it, or inside a pod.

The official client reads the files (certificates, tokens, exec plugins, OIDC) and keeps tokens fresh; its generated
models are not used.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from asgd.errors import UserError

_IN_POD = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_NO_ACCOUNT = (
    "this pod has no service account to use ({}): let its token be mounted (automountServiceAccountToken), or name a"
    " kubeconfig by KUBECONFIG"
)
_MISSING = "the package kubernetes is not installed, which this needs: pip install 'asgd-operator[client]' installs it"


@dataclass(frozen=True, slots=True)
class Place:
    """A cluster and this user's part of it."""

    configuration: Any
    """`kubernetes.client.Configuration`."""
    context: str
    """Name of the kubeconfig's context; empty inside a pod."""
    namespace: str
    """That of the context, of the pod, or `default`."""
    kubeconfig: str
    """Files that it was read from; empty inside a pod."""


def connect(kubeconfig: str = "", context: str = "", environ: Mapping[str, str] = os.environ) -> Place:
    """The cluster of `context`, or the current one. Raises UserError where there is none."""
    try:
        from kubernetes import client, config
    except ImportError as error:
        raise UserError(_MISSING) from error
    configuration = client.Configuration()
    files = kubeconfig or environ.get("KUBECONFIG", "") or _own_file()
    there = any(_is_file(each) for each in files.split(os.pathsep) if each)
    if not there and not kubeconfig and not context and environ.get("KUBERNETES_SERVICE_HOST"):
        try:
            config.load_incluster_config(client_configuration=configuration)
        except (config.ConfigException, OSError) as error:
            raise UserError(_NO_ACCOUNT.format(str(error).rstrip("."))) from error
        return Place(configuration, "", _namespace_of_pod(), "")
    if not there:
        raise UserError(
            f"no cluster to talk to: {files} does not exist; name a kubeconfig by --kubeconfig or KUBECONFIG"
        )
    try:
        contexts, current = config.list_kube_config_contexts(files)
        chosen = context or (current or {}).get("name", "")
        known = {each["name"]: each.get("context") or {} for each in contexts}
        if chosen not in known:
            raise UserError(
                f"context {chosen!r} does not exist in {files}; it has {', '.join(sorted(known))}"
            )
        config.load_kube_config(files, chosen, client_configuration=configuration)
    except (config.ConfigException, OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{files} is no usable kubeconfig: {' '.join(str(error).split())}") from error
    return Place(configuration, chosen, str(known[chosen].get("namespace") or "default"), files)


def _own_file() -> str:
    try:
        return str(Path.home() / ".kube" / "config")
    except RuntimeError:  # a user of a container that has neither a home nor a name
        return "~/.kube/config"


def _is_file(path: str) -> bool:
    try:
        return Path(path).expanduser().is_file()
    except RuntimeError:
        return False


def _namespace_of_pod() -> str:
    try:
        return _IN_POD.read_text(encoding="utf-8").strip() or "default"
    except OSError:
        return "default"
