"""The chart installed on the test cluster as a user installs it.

Images come from the archives that `tools/build_images.sh` leaves in the cache; a node that has them already
is not asked to read six gigabytes again. On a cluster of the caller ($ASGD_TEST_KUBECONFIG) the images must be
there, under the names below or those of $ASGD_E2E_OPERATOR_IMAGE and $ASGD_E2E_TRAINER_IMAGE.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from asgd_operator import __version__
from tests.chart.helm import CHART, Values, helm
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
        helm(*words("upgrade", self.cluster), values=values() | changes)
        self.rollout()


def words(verb: str, cluster: Cluster) -> tuple[Any, ...]:
    """Helm's command line for the one release."""
    return (verb, "asgd", CHART, "-n", SYSTEM, "--kubeconfig", cluster.kubeconfig, "--wait", "--timeout=120s")


def values() -> Values:
    """What the tests set: the images that were built here, and monitors that scrape often."""
    repository, _, tag = OPERATOR_IMAGE.rpartition(":")
    scraped = {"enabled": True, "interval": "2s"}
    return {
        "image": {"repository": repository, "tag": tag},
        # A page beside each of the many jobs would be too much for the machine; those that are to have one ask for it.
        "jobs": {"trainerImage": TRAINER_IMAGE, "page": {"enabled": False}},
        "metrics": {"serviceMonitor": scraped, "podMonitor": scraped},
    }


def load_images(cluster: Cluster) -> None:
    """Bring both images to the nodes that lack one."""
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
    """Names of the images of each node, as its kubelet reports them; one that lost its tag has none."""
    nodes = kubectl.json("get", "nodes")["items"]
    return [
        {n for image in node["status"].get("images", ()) for n in image.get("names") or ()} for node in nodes
    ]
