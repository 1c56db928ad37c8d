"""What the chart grants: only what the operator does, only where it watches, and roles that users get by
themselves."""

from __future__ import annotations

import re
from typing import Any

from tests.chart.helm import CHART, Values, one, template

CLUSTER_ROLE = "asgd-asgd-operator-asgd-system"
VERBS = {"get", "list", "watch", "create", "patch", "update", "delete"}
CREATES_ONLY = {"secrets": {"create"}}
NAMESPACED: Values = {"watch": {"namespaces": ["a", "b"], "nodes": False}, "rbac": {"aggregate": False}}


def _granted(role: dict[str, Any]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for rule in role["rules"]:
        for resource in rule["resources"]:
            found.setdefault(resource, set()).update(rule["verbs"])
    return found


def test_secrets_are_created_and_never_read() -> None:
    granted = _granted(one(template(), "ClusterRole", CLUSTER_ROLE))
    assert {key: granted[key] for key in CREATES_ONLY} == CREATES_ONLY


def test_nothing_is_granted_by_a_wildcard_and_pods_are_never_created_or_entered() -> None:
    granted = _granted(one(template(), "ClusterRole", CLUSTER_ROLE))
    assert not any("*" in {key, *verbs} for key, verbs in granted.items())
    assert granted["pods"] == {"get", "list", "watch", "delete", "patch"}
    assert granted["pods/status"] == {"patch"}
    assert granted["events"] == {"create", "list"}
    assert not granted.keys() & {"pods/exec", "pods/log", "asgdjobs/finalizers", "customresourcedefinitions"}
    assert granted["asgdjobs"] == {"get", "list", "watch", "delete"}


def test_an_installation_for_some_namespaces_has_rights_in_these_alone() -> None:
    objects = template(NAMESPACED)
    assert not {item["kind"] for item in objects} & {"ClusterRole", "ClusterRoleBinding"}
    roles = [item for item in objects if item["kind"] == "Role"]
    assert [item["metadata"]["namespace"] for item in roles] == ["a", "b"]
    everywhere = _granted(one(template(), "ClusterRole", CLUSTER_ROLE))
    del everywhere["nodes"]
    assert all(_granted(role) == everywhere for role in roles)


def test_watching_nodes_is_the_only_right_beyond_the_watched_namespaces() -> None:
    objects = template({"watch": {"namespaces": ["a"]}})
    assert _granted(one(objects, "ClusterRole", CLUSTER_ROLE)) == {"nodes": {"get", "list", "watch"}}


def test_optional_kinds_are_granted_only_when_they_are_used() -> None:
    def resources(values: Values) -> set[str]:
        return set(_granted(one(template(values), "ClusterRole", CLUSTER_ROLE)))

    base = resources({})
    assert resources({"jobs": {"podMonitor": {"enabled": True}}}) - base == {"podmonitors"}
    assert resources({"jobs": {"podGroups": {"enabled": True}}}) - base == {"podgroups"}


def test_a_lease_is_granted_by_its_name_and_only_with_leader_election() -> None:
    assert "Role" not in {item["kind"] for item in template()}
    role = one(template({"leaderElection": {"enabled": True}}), "Role")
    create, hold = role["rules"]
    assert create["verbs"] == ["create"]
    assert (hold["resourceNames"], hold["verbs"]) == (["asgd-asgd-operator"], ["get", "update", "patch"])


def test_view_and_edit_of_the_cluster_include_jobs() -> None:
    objects = template()
    viewer = one(objects, "ClusterRole", f"{CLUSTER_ROLE}-jobs-viewer")
    editor = one(objects, "ClusterRole", f"{CLUSTER_ROLE}-jobs-editor")
    assert viewer["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-view"] == "true"
    assert editor["metadata"]["labels"]["rbac.authorization.k8s.io/aggregate-to-edit"] == "true"
    assert _granted(viewer)["asgdjobs"] == {"get", "list", "watch"}
    assert "asgdjobs/status" not in _granted(editor)


def test_the_role_for_notebooks_is_what_the_docs_name_for_users_of_the_client_and_reads_no_secret() -> None:
    role = one(template(), "ClusterRole", f"{CLUSTER_ROLE}-jobs-client")
    assert not any("aggregate" in label for label in role["metadata"]["labels"])
    page = (CHART.parents[1] / "docs" / "how-to" / "kubectl.md").read_text(encoding="utf-8")
    rows = page.split("\n## Rights\n")[1].split("\n## ")[0].splitlines()
    told: dict[str, set[str]] = {}
    for row in rows:
        if row.startswith("| ") and not row.startswith(("| to ", "| open ")):
            for clause in re.split(r"; |, or |; of a claim |; for a job with `sourceFrom` ", row):
                verbs, on, kinds = clause.partition(" on ")
                for kind in re.findall(r"`([\w/]+)`", kinds) if on else ():
                    told.setdefault(kind, set()).update(set(re.findall(r"`(\w+)`", verbs)) & VERBS)
    assert told == _granted(role)
    assert "secrets" not in told
