"""A release's life on a real API server: install, what it may do, upgrade, rollback, uninstall. No pod runs
here."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import yaml

from tests.chart.helm import CHART, Values, helm
from tests.cluster import api_tier
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

JOB = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "metadata": {"name": "digits"},
    "spec": {"entrypoint": "asgd.examples.digits:task"},
}
OPERATOR = "system:serviceaccount:asgd-system:asgd-asgd-operator"


class Release:
    """The release `asgd` in `asgd-system` of one API server."""

    def __init__(self, kubectl: Kubectl) -> None:
        self.kubectl = kubectl

    def __call__(self, *words: str, values: Values | None = None) -> str:
        """`helm WORDS` against that server; `asgd` stands for the release."""
        where = ["-n", "asgd-system", "--kubeconfig", str(self.kubectl.kubeconfig)]
        return helm(*words, *where, values=values)

    def may(self, *words: str, user: str = OPERATOR) -> bool:
        return self.kubectl.succeeds("auth", "can-i", *words, "--as", user, "-q")


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    state = tmp_path_factory.mktemp("release") / "state"
    try:
        plane = api_tier.up(state, tied=True)
    except ClusterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no API server: {error}")
    try:
        namespace = {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {
                "name": "asgd-system",
                "labels": {"pod-security.kubernetes.io/enforce": "restricted"},
            },
        }
        plane.kubectl.apply(namespace)
        release = Release(plane.kubectl)
        release("install", "asgd", str(CHART), values={})
        yield release
    finally:
        api_tier.down(state)


def test_after_the_install_jobs_can_be_applied_and_the_notes_say_how(release: Release) -> None:
    release.kubectl.wait("crd/asgdjobs.asgd.dev", "condition=Established")
    notes = release("get", "notes", "asgd")
    heredoc = notes[notes.index("apiVersion: asgd.dev") : notes.index("\nEND\n")]
    release.kubectl.apply(yaml.safe_load(heredoc))
    assert release.kubectl.json("get", "asgdjob", "digits")["spec"]["workers"]["replicas"] == 2


def test_the_operator_may_do_its_work_and_nothing_near_it(release: Release) -> None:
    allowed = ["create secrets", "patch statefulsets", "delete jobs", "delete pods", "list nodes"]
    denied = ["list secrets", "get secrets", "create pods", "create pods/exec", "delete nodes"]
    denied += ["patch asgdjobs", "update asgdjobs", "delete services", "create clusterroles"]
    denied += ["list namespaces", "get leases"]
    assert [what for what in allowed if not release.may(*what.split())] == []
    assert [what for what in denied if release.may(*what.split())] == []
    assert release.may("patch", "asgdjobs", "--subresource=status")


def test_users_with_edit_may_change_jobs_and_users_with_view_may_only_see_them(release: Release) -> None:
    for role in ("view", "edit"):
        release.kubectl("create", "rolebinding", role, f"--clusterrole={role}", f"--user={role}r")
    release.kubectl.wait("rolebinding/edit", "jsonpath={.metadata.name}=edit")
    assert release.may("create", "asgdjobs", user="editr")
    assert release.may("patch", "asgdjobs", "--subresource=scale", user="editr")
    assert release.may("get", "asgdjobs", user="viewr")
    assert not release.may("patch", "asgdjobs", user="viewr")


def test_upgrade_and_rollback_change_the_configuration_and_keep_the_jobs(release: Release) -> None:
    release.kubectl.apply(JOB)
    uid = release.kubectl.json("get", "asgdjob", "digits")["metadata"]["uid"]

    def level() -> str:
        data = release.kubectl.json("get", "configmap", "asgd-asgd-operator", "-n", "asgd-system")["data"]
        found: str = yaml.safe_load(data["config.yaml"])["logging"]["level"]
        return found

    release("upgrade", "asgd", str(CHART), values={"logging": {"level": "debug"}})
    assert level() == "debug"
    release("rollback", "asgd", "1")
    assert level() == "info"
    assert release.kubectl.json("get", "asgdjob", "digits")["metadata"]["uid"] == uid


def test_uninstall_keeps_the_crd_and_the_jobs_and_a_new_install_takes_them_over(release: Release) -> None:
    release.kubectl.apply(JOB)
    release("uninstall", "asgd", "--wait")
    assert not release.kubectl.succeeds("get", "deployment", "asgd-asgd-operator", "-n", "asgd-system")
    assert release.kubectl.succeeds("get", "asgdjob", "digits")
    release("install", "asgd", str(CHART), values={})
    assert release.kubectl.succeeds("get", "asgdjob", "digits")
