"""A real API server of a test file's own, on which releases come and go. No pod runs there."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.chart.helm import Values, helm
from tests.cluster import api_tier
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

JOB: dict[str, Any] = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "metadata": {"name": "digits"},
    "spec": {"entrypoint": "asgd.examples.digits:task"},
}


class Release:
    """A release in one namespace of one API server."""

    def __init__(self, kubectl: Kubectl, name: str = "asgd", namespace: str = "asgd-system") -> None:
        self.kubectl, self.name, self.namespace = kubectl, name, namespace
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        metadata = {"name": namespace, "labels": labels}
        kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata})

    def __call__(
        self, verb: str, *words: str | Path, values: Values | None = None, fails: bool = False
    ) -> str:
        """`helm VERB NAME WORDS` against that server."""
        where = ["-n", self.namespace, "--kubeconfig", str(self.kubectl.kubeconfig)]
        return helm(*verb.split(), self.name, *words, *where, values=values, fails=fails)

    @property
    def operator(self) -> str:
        """The user that the release's operator is to the API server."""
        return f"system:serviceaccount:{self.namespace}:{self.name}-asgd-operator"

    def may(self, *words: str, user: str = "") -> bool:
        return self.kubectl.succeeds("auth", "can-i", *words, "--as", user or self.operator, "-q")


@contextmanager
def api_server(folder: Path) -> Iterator[Kubectl]:
    """kubectl of a fresh API server with its files in `folder`; skips where there is none."""
    state = folder / "state"
    try:
        plane = api_tier.up(state, tied=True)
    except ClusterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no API server: {error}")
    try:
        yield plane.kubectl
    finally:
        api_tier.down(state)
