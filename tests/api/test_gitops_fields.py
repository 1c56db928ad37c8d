"""Who owns which field of a job in Git, by the API server's own books: what docs/how-to/gitops.md tells is tried here.

Argo CD (with server-side apply) and Flux apply under a field manager of their own, and both force conflicts.
"""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass
from typing import Any

import pytest

from tests.api.acting import Job
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for an API server, on a machine that may be busy
NUMBERS = itertools.count()


@dataclass
class Git:
    """What a GitOps tool does with one job, and what others do to it meanwhile."""

    kubectl: Kubectl
    name: str

    def sync(self, *, force: bool = True, **spec: Any) -> None:
        manifest = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": self.name}}
        manifest |= {"spec": {"entrypoint": "m:f"} | spec}
        words = ["apply", "--server-side", "--field-manager=argocd-controller", "-n", self.name, "-f", "-"]
        self.kubectl(*words, *(["--force-conflicts"] if force else []), stdin=json.dumps(manifest))

    def scale(self, replicas: int) -> None:
        self.kubectl("-n", self.name, "scale", f"asgdjob/{self.name}", f"--replicas={replicas}")

    def patch(self, **spec: Any) -> None:
        """As `kubectl asgd` does."""
        words = ("patch", "asgdjob", self.name, "--type=merge", "--field-manager=kubectl-asgd")
        self.kubectl("-n", self.name, *words, "-p", json.dumps({"spec": spec}))

    @property
    def spec(self) -> dict[str, Any]:
        return dict(Job(self.kubectl, self.name).get("asgdjob", self.name)["spec"])

    @property
    def replicas(self) -> int:
        return int(self.spec["workers"]["replicas"])


@pytest.fixture
def git(kubectl: Kubectl) -> Git:
    name = f"git-{next(NUMBERS)}"
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name}})
    return Git(kubectl, name)


def test_a_size_that_is_not_in_git_belongs_to_who_scales(git: Git) -> None:
    git.sync(workers={"maxReplicas": 16})
    assert git.replicas == 4
    git.scale(7)
    git.sync(workers={"maxReplicas": 32})
    assert (git.replicas, git.spec["workers"]["maxReplicas"]) == (7, 32)


def test_a_size_in_git_is_fought_over_and_the_books_say_by_whom(git: Git) -> None:
    git.sync(workers={"replicas": 3})
    git.scale(7)
    with pytest.raises(
        ClusterError, match=r'conflict with "kubectl" with subresource "scale".*\.spec\.workers\.repl'
    ):
        git.sync(force=False, workers={"replicas": 3})
    git.sync(workers={"replicas": 3})
    assert git.replicas == 3, "and so each time the tool looks"


def test_a_size_in_git_that_is_replaced_by_the_live_one_is_not_fought_over(git: Git) -> None:
    """Argo CD's RespectIgnoreDifferences applies the live value of what ignoreDifferences names."""
    git.sync(workers={"replicas": 3})
    for wanted in (7, 5):
        git.scale(wanted)
        git.sync(force=False, workers={"replicas": git.replicas})
        assert git.replicas == wanted


def test_a_size_that_leaves_git_stays_only_if_somebody_has_scaled_since(git: Git) -> None:
    git.sync(workers={"replicas": 3})
    git.sync()
    assert git.replicas == 4, "nobody owns it: the CRD's default"
    git.sync(workers={"replicas": 3})
    git.scale(7)
    git.sync()
    assert git.replicas == 7


def test_what_kubectl_asgd_stop_and_suspend_write_stays_where_git_says_nothing_of_it(git: Git) -> None:
    git.sync(stopAfter={"epochs": 60}, runPolicy={"ttlSecondsAfterFinished": 600})
    git.patch(stopAfter={"updates": 100})
    git.patch(runPolicy={"suspend": True})
    git.sync(stopAfter={"epochs": 90}, runPolicy={"ttlSecondsAfterFinished": 900})
    assert git.spec["stopAfter"] == {"epochs": 90, "updates": 100}
    assert git.spec["runPolicy"]["suspend"] is True
    git.sync(stopAfter={"epochs": 90}, runPolicy={"suspend": False})
    assert git.spec["runPolicy"]["suspend"] is False, "what Git says, Git gets"


def test_a_job_that_nobody_has_looked_at_says_so(git: Git) -> None:
    git.sync()
    found = Job(git.kubectl, git.name).get("asgdjob", git.name)
    assert found["status"] == {"observedGeneration": -1}
