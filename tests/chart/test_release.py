"""A release's life on a real API server: install, what it may do, upgrade, rollback, uninstall. No pod runs
here."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import yaml

from tests.chart.helm import CHART
from tests.chart.servers import JOB, Release, api_server


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Release]:
    """The release `asgd` in `asgd-system`."""
    with api_server(tmp_path_factory.mktemp("release")) as kubectl:
        release = Release(kubectl)
        release("install", CHART, values={})
        yield release


def test_after_the_install_jobs_can_be_applied_and_the_notes_say_how(release: Release) -> None:
    release.kubectl.wait("crd/asgdjobs.asgd.dev", "condition=Established")
    notes = release("get notes")
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

    release("upgrade", CHART, values={"logging": {"level": "debug"}})
    assert level() == "debug"
    release("rollback", "1")
    assert level() == "info"
    assert release.kubectl.json("get", "asgdjob", "digits")["metadata"]["uid"] == uid


def test_uninstall_keeps_the_crd_and_the_jobs_and_a_new_install_takes_them_over(release: Release) -> None:
    release.kubectl.apply(JOB)
    release("uninstall", "--wait")
    assert not release.kubectl.succeeds("get", "deployment", "asgd-asgd-operator", "-n", "asgd-system")
    assert release.kubectl.succeeds("get", "asgdjob", "digits")
    release("install", CHART, values={})
    assert release.kubectl.succeeds("get", "asgdjob", "digits")
