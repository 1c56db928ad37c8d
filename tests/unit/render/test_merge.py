"""How a user's podTemplate is merged, rule by rule, and what it may not take away."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgd.errors import UserError
from asgd_operator.constants import JOB_LABEL
from asgd_operator.render.merge import merge
from tests.unit.render.builders import container, environment, pod, rendered


def _with(template: dict[str, Any]) -> Any:
    return rendered("workers.podTemplate=" + json.dumps(template)).workers


def _main(**fields: Any) -> dict[str, Any]:
    return {"spec": {"containers": [{"name": "asgd", **fields}]}}


@pytest.mark.parametrize(
    ("base", "patch", "merged"),
    [
        ({"a": 1, "b": {"c": 1}}, {"b": {"d": 2}}, {"a": 1, "b": {"c": 1, "d": 2}}),
        ({"a": 1, "b": 2}, {"a": None}, {"b": 2}),
        ({"args": ["x"]}, {"args": ["y"]}, {"args": ["y"]}),
        ({"a": {"b": 1}}, {"a": "text"}, {"a": "text"}),
        (
            {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]},
            {"env": [{"name": "B", "value": "3"}, {"name": "C", "value": "4"}]},
            {
                "env": [
                    {"name": "A", "value": "1"},
                    {"name": "B", "value": "3"},
                    {"name": "C", "value": "4"},
                ]
            },
        ),
        ({"env": [{"name": "A"}]}, {"env": [{"name": "A", "$patch": "delete"}]}, {"env": []}),
        (
            {"ports": [{"containerPort": 1, "protocol": "TCP"}]},
            {"ports": [{"containerPort": 1, "name": "x"}]},
            {"ports": [{"containerPort": 1, "protocol": "TCP", "name": "x"}]},
        ),
        (
            {"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory"}}]},
            {"volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "1Gi"}}]},
            {"volumes": [{"name": "tmp", "emptyDir": {"medium": "Memory", "sizeLimit": "1Gi"}}]},
        ),
        (
            {"volumes": [{"name": "tmp", "emptyDir": {}}]},
            {"volumes": [{"name": "tmp", "hostPath": {"path": "/x"}}]},
            {"volumes": [{"name": "tmp", "hostPath": {"path": "/x"}}]},
        ),
        (
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "A", "valueFrom": {"x": 1}}]},
            {"env": [{"name": "A", "valueFrom": {"x": 1}}]},
        ),
    ],
)
def test_templates_merge_by_the_documented_rule(base: Any, patch: Any, merged: Any) -> None:
    before = json.dumps([base, patch])
    assert merge(base, patch) == merged
    assert json.dumps([base, patch]) == before, "merging must not change what it was given"


def test_the_main_container_is_changed_by_its_name_and_sidecars_are_added() -> None:
    template = {
        "spec": {"containers": [{"name": "asgd", "workingDir": "/x"}, {"name": "side", "image": "s"}]}
    }
    workers = _with(template)
    assert [item["name"] for item in pod(workers)["containers"]] == ["asgd", "side"]
    assert container(workers)["workingDir"] == "/x" and container(workers)["command"] == ["asgd", "worker"]


def test_a_variable_of_the_user_joins_ours() -> None:
    values = environment(_with(_main(env=[{"name": "DATA", "value": "/d"}])))
    assert values["DATA"] == "/d" and values["ASGD_JOB"] == "/etc/asgd/job.json"


def test_a_toleration_of_the_user_joins_ours_and_may_change_the_time_of_node_loss() -> None:
    lost = {"key": "node.kubernetes.io/unreachable", "operator": "Exists", "effect": "NoExecute"}
    workers = _with(
        {"spec": {"tolerations": [{**lost, "tolerationSeconds": 5}, {"key": "spot", "operator": "Exists"}]}}
    )
    seconds = {item["key"]: item.get("tolerationSeconds") for item in pod(workers)["tolerations"]}
    assert seconds == {
        "node.kubernetes.io/not-ready": 30,
        "node.kubernetes.io/unreachable": 5,
        "spot": None,
    }


def test_selecting_labels_and_the_restart_policy_cannot_be_taken_away() -> None:
    workers = _with(
        {"metadata": {"labels": {JOB_LABEL: "x", "mine": "1"}}, "spec": {"restartPolicy": "Always"}}
    )
    labels = workers["spec"]["template"]["metadata"]["labels"]
    assert labels[JOB_LABEL] == "digits" and labels["mine"] == "1"
    assert pod(workers)["restartPolicy"] == "Never"
    assert JOB_LABEL in _with({"metadata": {"labels": None}})["spec"]["template"]["metadata"]["labels"]


def test_the_evaluator_sees_the_users_volumes_too() -> None:
    template = {"spec": {"volumes": [{"name": "data", "emptyDir": {}}]}}
    made = rendered("workers.podTemplate=" + json.dumps(template))
    assert "data" in {item["name"] for item in pod(made.evaluator)["volumes"]}
    assert "data" not in {item["name"] for item in pod(made.servers)["volumes"]}


@pytest.mark.parametrize(
    ("template", "says"),
    [
        ({"containers": []}, "podTemplate has the field 'containers'; allowed are 'metadata' and 'spec'"),
        ({"spec": "x"}, "podTemplate.spec must be a mapping"),
        ({"metadata": {"labels": [1]}}, "podTemplate.metadata.labels must be a mapping"),
    ],
)
def test_what_is_no_pod_template_is_refused_with_a_sentence(template: dict[str, Any], says: str) -> None:
    with pytest.raises(UserError, match=says):
        _with(template)


@pytest.mark.parametrize("containers", [["asgd"], [{"name": ["x"]}], {}, [None], "x"])
def test_a_malformed_list_is_rendered_as_it_is_for_the_api_server_to_judge(containers: Any) -> None:
    spec = pod(_with({"spec": {"containers": containers}}))
    kept = spec["containers"][1:] if isinstance(containers, list) else spec["containers"]
    assert kept == containers
