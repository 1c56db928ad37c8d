"""Fixture `release`: the operator, installed once a session."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from tests.chart.helm import helm
from tests.cluster import prometheus
from tests.cluster.access import Cluster
from tests.e2e.release import SYSTEM, Release, load_images, values, words


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[Release]:
    """The chart, installed with its monitors; uninstalled at the end with all jobs gone, but for $ASGD_E2E_KEEP."""
    load_images(cluster)
    prometheus.install_kinds(cluster.kubectl)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": labels}}
    cluster.kubectl.apply(namespace)
    helm(*words("upgrade", cluster), "--install", values=values())
    found = Release(cluster)
    found.rollout()
    yield found
    if os.environ.get("ASGD_E2E_KEEP"):
        return
    cluster.kubectl("delete", "asgdjobs", "--all", "--all-namespaces")
    helm("uninstall", "asgd", "-n", SYSTEM, "--kubeconfig", cluster.kubeconfig)
