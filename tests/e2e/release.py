"""The chart installed on the test cluster as a user installs it, once a session: fixture `release`.

Images come from the archives that `tools/build_images.sh` leaves in the cache; a node that has them already
is not asked to read six gigabytes again. On a cluster of the caller ($ASGD_TEST_KUBECONFIG) the images must be
there, under the names below or those of $ASGD_E2E_OPERATOR_IMAGE and $ASGD_E2E_TRAINER_IMAGE.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pytest

from asgd_operator import __version__
from tests.chart.helm import CHART, Values, helm
from tests.cluster import prometheus
from tests.cluster.access import Cluster, unavailable
from tests.cluster.kubectl import Kubectl
from tests.cluster.layout import cache
from tests.e2e.jobs import Job, until

SYSTEM = "asgd-system"
DEPLOYMENT = "asgd-asgd-operator"
OPERATOR_IMAGE = os.environ.get("ASGD_E2E_OPERATOR_IMAGE", f"localhost/asgd-operator:{__version__}")
TRAINER_IMAGE = os.environ.get("ASGD_E2E_TRAINER_IMAGE", f"localhost/asgd-trainer:{__version__}")
_ARCHIVES = {OPERATOR_IMAGE: "asgd-operator.tar", TRAINER_IMAGE: "asgd-trainer.tar"}


@dataclass(frozen=True)
class Release:
    """The running operator and the cluster below it."""

    cluster: Cluster

    @property
    def kubectl(self) -> Kubectl:
        return self.cluster.kubectl

    def job(self, name: str, namespace: str = "") -> Job:
        """A job in a namespace of its own that enforces the `restricted` standard."""
        return Job(self.kubectl, name, namespace or name).prepare()

    def operator_pod(self) -> dict[str, Any]:
        """The one pod of the operator that is not on its way out."""
        words = ("-n", SYSTEM, "get", "pods", "-l", "app.kubernetes.io/component=operator")
        pods = self.kubectl.json(*words)["items"]
        (found,) = (pod for pod in pods if "deletionTimestamp" not in pod["metadata"])
        return dict(found)

    def rollout(self) -> None:
        """Wait until the operator runs as the release says."""
        self.kubectl("-n", SYSTEM, "rollout", "status", f"deployment/{DEPLOYMENT}", "--timeout=90s")

    def upgrade(self, **changes: Any) -> None:
        """`helm upgrade` with `changes` over the session's values; returns when it is in force."""
        helm(*_words("upgrade", self.cluster), values=_values() | changes)
        self.rollout()


@pytest.fixture(scope="session")
def release(cluster: Cluster) -> Iterator[Release]:
    """The chart, installed with its monitors; uninstalled at the end with all jobs gone."""
    _load_images(cluster)
    prometheus.install_kinds(cluster.kubectl)
    labels = {"pod-security.kubernetes.io/enforce": "restricted"}
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": SYSTEM, "labels": labels}}
    cluster.kubectl.apply(namespace)
    helm(*_words("upgrade", cluster), "--install", values=_values())
    found = Release(cluster)
    found.rollout()
    yield found
    cluster.kubectl("delete", "asgdjobs", "--all", "--all-namespaces")
    helm("uninstall", "asgd", "-n", SYSTEM, "--kubeconfig", cluster.kubeconfig)


def _words(verb: str, cluster: Cluster) -> tuple[Any, ...]:
    return (verb, "asgd", CHART, "-n", SYSTEM, "--kubeconfig", cluster.kubeconfig, "--wait", "--timeout=120s")


def _values() -> Values:
    repository, _, tag = OPERATOR_IMAGE.rpartition(":")
    scraped = {"enabled": True, "interval": "2s"}
    return {
        "image": {"repository": repository, "tag": tag},
        "jobs": {"trainerImage": TRAINER_IMAGE},
        "metrics": {"serviceMonitor": scraped, "podMonitor": scraped},
    }


def _load_images(cluster: Cluster) -> None:
    if not cluster.ours:
        return
    for image, archive in _ARCHIVES.items():
        if all(image in names for names in _images(cluster.kubectl)):
            continue
        path = cache() / "images" / archive
        if not path.is_file():
            unavailable(f"there is no {path}: build it with `tools/build_images.sh slim trainer`")
        cluster.load(path)
        until(
            lambda name=image: all(name in names for names in _images(cluster.kubectl)), f"nodes list {image}"
        )


def _images(kubectl: Kubectl) -> list[set[str]]:
    """Names of the images of each node, as its kubelet reports them."""
    nodes = kubectl.json("get", "nodes")["items"]
    return [{n for image in node["status"].get("images", ()) for n in image["names"]} for node in nodes]
