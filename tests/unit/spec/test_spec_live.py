"""Live fields: which they are, and their way from the operator's file into a running server's spec."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgd.errors import UserError
from asgd.spec import check_document, job_from_json
from asgd.spec.live import LIVE, joined, merge, split

ROOT = Path(__file__).parents[3]
JOB: dict[str, Any] = {
    "apiVersion": "asgd.dev/v1alpha1",
    "kind": "AsgdJob",
    "metadata": {"name": "digits"},
    "spec": {"entrypoint": "tasks:digits", "stopAfter": {"epochs": 3}},
}


def defaulted(**changes: Any) -> dict[str, Any]:
    spec: dict[str, Any] = check_document({**JOB, "spec": {**JOB["spec"], **changes}})["spec"]
    return spec


def test_both_parts_together_are_the_spec_again() -> None:
    for changes in (
        {},
        {"workers": {"maxReplicas": 9}, "checkpoint": {"everyUpdates": 5}},
        {"evaluation": {}},
    ):
        spec = defaulted(**changes)
        assert joined(*split(spec)) == spec
    frozen, live = split(defaulted())
    assert joined(frozen, {}) == frozen
    live["stopAfter"] = {"epochs": 9}
    assert joined(frozen, live)["stopAfter"] == {"epochs": 9}


def as_spec(spec: dict[str, Any]) -> Any:
    return job_from_json(json.dumps({**JOB, "spec": spec}).encode()).spec


def schema() -> dict[str, Any]:
    crd = yaml.safe_load((ROOT / "crds/asgdjobs.asgd.dev.yaml").read_text(encoding="utf-8"))
    spec: dict[str, Any] = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return spec


def freezing_rules() -> dict[tuple[str, ...], str]:
    """{path: the rule that compares it with its old value, whatever else the job says}."""
    rules = [
        rule
        for rule in schema()["x-kubernetes-validations"]
        if "oldSelf" in rule["rule"] and "has(self.workers.autoscale)" not in rule["rule"]
    ]
    return {tuple(rule["fieldPath"].strip(".").split(".")): rule["rule"] for rule in rules}


def test_the_crd_freezes_every_field_that_is_not_live_and_no_live_one() -> None:
    properties = schema()["properties"]
    leaves = {(name,) for name in properties}
    for parent in {path[0] for path in LIVE if len(path) > 1}:
        leaves.remove((parent,))
        leaves |= {(parent, name) for name in properties[parent]["properties"]}
    frozen = set(freezing_rules())
    assert frozen | set(LIVE) == leaves and not frozen & set(LIVE)


def test_each_freezing_rule_compares_its_own_field() -> None:
    suspended = "self.runPolicy.suspend || oldSelf.runPolicy.suspend"
    for path, rule in freezing_rules().items():
        new, old = f"self.{'.'.join(path)}", f"oldSelf.{'.'.join(path)}"
        optional = f"(has({new}) ? has({old}) && {new} == {old} : !has({old})) || {suspended}"
        expected = f"{new} == {old}" if path == ("managedBy",) else f"{new} == {old} || {suspended}"
        assert rule in (expected, optional)


def test_the_description_of_spec_names_the_live_fields() -> None:
    crd = (ROOT / "crds/asgdjobs.asgd.dev.yaml").read_text(encoding="utf-8")
    sentence = crd[crd.index("While a job runs only") : crd.index("may change; the rest")]
    assert set(re.findall(r"`([\w.]+)`", sentence)) == {".".join(path) for path in LIVE}


def test_the_two_parts_of_a_spec_make_it_whole_again() -> None:
    spec = defaulted(workers={"replicas": 3}, checkpoint={"keep": 9, "uri": "/data"})
    frozen, live = split(spec)
    counted = {"everySeconds": None, "everyUpdates": None, "everyEpochs": None}
    assert "keep" not in frozen["checkpoint"] and live["checkpoint"] == counted | {"keep": 9}
    assert merge(as_spec(frozen), json.dumps(live).encode()) == as_spec(spec)


def test_a_live_part_replaces_the_stop_rule_whole_and_leaves_what_it_does_not_name() -> None:
    before = as_spec(defaulted(stopAfter={"epochs": 3, "updates": 100}))
    after = merge(before, b'{"stopAfter": {"updates": 7}, "workers": {"replicas": 9}, "evaluation": null}')
    assert (after.stop_after.epochs, after.stop_after.updates) == (None, 7)
    assert after.workers.replicas == 9 and after.workers.max_replicas == before.workers.max_replicas
    assert after.evaluation == before.evaluation


def test_a_live_field_that_was_taken_away_is_gone_in_the_running_server_too() -> None:
    before = as_spec(defaulted(checkpoint={"everySeconds": 5}, workers={"progressDeadlineSeconds": 9}))
    _, live = split(defaulted(checkpoint={"everyUpdates": 100}))
    after = merge(before, json.dumps(live).encode())
    assert (after.checkpoint.seconds, after.checkpoint.every_updates) == (0.0, 100)
    assert after.workers.progress_deadline_seconds is None


def test_a_file_of_live_fields_changes_no_frozen_field() -> None:
    before = as_spec(defaulted())
    assert (
        merge(before, b'{"batchSize": 1, "workers": {"drainSeconds": 1}, "checkpoint": {"uri": "/x"}}')
        == before
    )


DAMAGED = [
    b"",
    b"[]",
    b"{",
    b'{"a": "\xff"}',
    b"[" * 100_000,
    b'{"stopAfter": 3}',
    b'{"workers": {"replicas": "many"}}',
]


@pytest.mark.parametrize("text", DAMAGED)
def test_a_damaged_file_of_live_fields_is_refused(text: bytes) -> None:
    with pytest.raises(UserError, match="live fields: "):
        merge(as_spec(defaulted()), text)
