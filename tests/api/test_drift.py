"""Children that others edit or delete, or whose names they have, on a real API server: it keeps the book of owners."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.api.acting import Job, OperatorProcess, ShardZero, until
from tests.cluster.kubectl import Kubectl

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy


def started(kubectl: Kubectl, name: str, shard: ShardZero) -> Job:
    job = Job(kubectl, name, shard.port)
    job.create(parameterServer={"shards": 1}, workers={"replicas": 2})
    job.start_pods("server", 1)
    job.start_pods("worker", 2)
    job.phase("Running")
    until(lambda: job.get("job", f"{name}-evaluator"), "the evaluator is made")
    return job


def metadata(job: Job, kind: str, name: str) -> tuple[Any, ...]:
    """UID, labels and owners of an object, which tell whose it is."""
    found = job.get(kind, name)["metadata"]
    return found["uid"], found.get("labels"), found.get("ownerReferences")


def patch(job: Job, kind: str, name: str, kind_of_patch: str, body: Any) -> None:
    words = ("-n", job.name, "patch", kind, name, f"--type={kind_of_patch}", "--field-manager=somebody")
    job.kubectl(*words, "-p", json.dumps(body))


def told(job: Job, reason: str) -> list[str]:
    """Messages of the job's events of this reason."""
    mine = (item for item in job.list("events") if item["involvedObject"]["kind"] == "AsgdJob")
    return sorted(item["message"] for item in mine if item["reason"] == reason)


IMAGE = [{"op": "replace", "path": "/spec/template/spec/containers/0/image", "value": "evil:1"}]
EDITS = {
    ("service", "-server", ".spec.selector"): ("merge", {"spec": {"selector": {"app": "else"}}}),
    ("configmap", "-live", ".data[live.json]"): ("merge", {"data": {"live.json": "{}"}}),
    ("poddisruptionbudget", "-server", ".spec.maxUnavailable"): ("merge", {"spec": {"maxUnavailable": 7}}),
    ("networkpolicy", "", ".spec.ingress"): ("merge", {"spec": {"ingress": []}}),
    ("statefulset", "-server", ".spec.template.spec.containers[asgd].image"): ("json", IMAGE),
    ("job", "-worker", ".metadata.labels[asgd.dev/role]"): (
        "merge",
        {"metadata": {"labels": {"asgd.dev/role": "x"}}},
    ),
    ("job", "-evaluator", ".spec.backoffLimit"): ("merge", {"spec": {"backoffLimit": 1}}),
}


def test_what_others_have_changed_is_put_back_and_told_with_field_and_manager(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "drifts", shard)
    before = {key: job.get(key[0], f"drifts{key[1]}") for key in EDITS}
    patch(job, "networkpolicy", "drifts", "merge", {"metadata": {"labels": {"team": "a"}}})
    again = {"kubectl.kubernetes.io/restartedAt": "2026-01-01T00:00:00Z"}
    patch(
        job,
        "statefulset",
        "drifts-server",
        "merge",
        {"spec": {"template": {"metadata": {"annotations": again}}}},
    )
    for (kind, suffix, _), (how, body) in EDITS.items():
        patch(job, kind, f"drifts{suffix}", how, body)
    expected = sorted(
        f"{before[kind, suffix, field]['kind']} drifts{suffix}: somebody has changed {field}; it is put back."
        for kind, suffix, field in EDITS
    )
    until(lambda: len(told(job, "DriftHealed")) >= len(expected), "all is told")
    assert told(job, "DriftHealed") == expected
    after = {key: job.get(key[0], f"drifts{key[1]}") for key in EDITS}
    for key in EDITS:
        for part in ("spec", "data"):
            if key[0] != "statefulset":
                assert after[key].get(part) == before[key].get(part), key
    template = after["statefulset", "-server", ".spec.template.spec.containers[asgd].image"]["spec"][
        "template"
    ]
    assert template["spec"]["containers"][0]["image"] != "evil:1"
    assert again.items() <= template["metadata"]["annotations"].items()
    assert job.get("networkpolicy", "drifts")["metadata"]["labels"]["team"] == "a"
    patch(
        job, "service", "drifts-server", "json", [{"op": "remove", "path": "/spec/publishNotReadyAddresses"}]
    )
    until(lambda: job.get("service", "drifts-server")["spec"].get("publishNotReadyAddresses"), "it is back")


def test_children_that_are_deleted_come_back(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "lost", shard)
    spec = next(c["metadata"]["name"] for c in job.list("configmaps") if "-spec-" in c["metadata"]["name"])
    children = [("configmap", spec), ("configmap", "lost-live"), ("service", "lost-server")]
    children += [("networkpolicy", "lost"), ("poddisruptionbudget", "lost-server")]
    children += [("job", "lost-evaluator"), ("job", "lost-worker"), ("statefulset", "lost-server")]
    for kind, name in children:
        uid = job.get(kind, name)["metadata"]["uid"]
        kubectl("-n", "lost", "delete", kind, name)
        if kind in ("job", "statefulset"):
            job.start_pods("server", 1)
        until(
            lambda k=kind, n=name, u=uid: (job.get(k, n) or {"metadata": {"uid": u}})["metadata"]["uid"] != u,
            name,
        )


def test_a_name_that_is_taken_is_told_and_nothing_of_the_users_is_overwritten(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = Job(kubectl, "name", shard.port)
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "name"}})
    labels, pod = {"a": "b"}, {"containers": [{"name": "c", "image": "i"}]}
    template = {"metadata": {"labels": labels}, "spec": pod}
    selector = {"matchLabels": labels}
    theirs: list[tuple[str, str, str, Any]] = [
        ("v1", "ConfigMap", "name-live", {"data": {"live.json": "mine"}}),
        ("networking.k8s.io/v1", "NetworkPolicy", "name", {"spec": {"podSelector": selector}}),
        ("v1", "Service", "name-server", {"spec": {"ports": [{"port": 80}], "selector": labels}}),
        ("policy/v1", "PodDisruptionBudget", "name-server", {"spec": {"minAvailable": 1, "selector": selector}}),
        ("apps/v1", "StatefulSet", "name-server",
         {"spec": {"serviceName": "s", "selector": selector, "template": template}}),
        ("batch/v1", "Job", "name-worker",
         {"spec": {"suspend": True, "template": {"spec": pod | {"restartPolicy": "Never"}}}}),
    ]  # fmt: skip
    before = {}
    for version, kind, name, rest in theirs:
        manifest = {"apiVersion": version, "kind": kind, "metadata": {"name": name}}
        kubectl.apply(manifest | rest, namespace="name")
        before[kind, name] = metadata(job, kind, name)
    job.apply(parameterServer={"shards": 1}, workers={"replicas": 1})
    for _, kind, name, _ in theirs:
        says = f"{kind} {name} exists already and is not this job's"
        until(lambda says=says: job.condition("Accepted").get("message", "").startswith(says), says)
        assert job.condition("Accepted")["reason"] == "NameTaken"
        assert metadata(job, kind, name) == before[kind, name]
        kubectl("-n", "name", "delete", kind, name)
    job.start_pods("server", 1)
    until(lambda: job.get("job", "name-worker"), "the job goes on")


def test_a_name_that_is_taken_later_is_told_as_well_and_the_job_goes_on(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = Job(kubectl, "later", shard.port)
    job.create(parameterServer={"shards": 1}, workers={"replicas": 1})
    until(lambda: job.get("statefulset", "later-server"), "it has servers")
    pod = {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]}
    theirs = {"apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "later-worker"}}
    kubectl.apply(theirs | {"spec": {"suspend": True, "template": {"spec": pod}}}, namespace="later")
    job.start_pods("server", 1)
    until(lambda: job.condition("Degraded").get("reason") == "NameTaken", "it is told")
    assert "Job later-worker exists already" in job.condition("Degraded")["message"]
    assert job.get("job", "later-worker")["spec"]["parallelism"] == 1
    assert "ownerReferences" not in job.get("job", "later-worker")["metadata"]
    until(lambda: "NameTaken" in job.events(), "there is an event")
    kubectl("-n", "later", "delete", "job", "later-worker")
    job.start_pods("worker", 1)
    job.phase("Running")


def test_a_controller_that_fights_for_a_field_is_named_and_makes_no_storm(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "fought", shard)

    def fight() -> bool:
        patch(job, "service", "fought-server", "merge", {"spec": {"selector": {"app": "else"}}})
        return job.condition("Degraded").get("reason") == "DriftFought"

    until(fight, "the fight is told")
    assert job.condition("Degraded")["message"].startswith(
        "Service fought-server: somebody has changed .spec.selector, again and again"
    )
    until(lambda: "DriftFought" in job.events(), "there is an event")
    assert len(told(job, "DriftHealed")) == 1


def test_new_keys_are_made_when_nobody_holds_the_former_ones(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "keyed", shard)
    (secret,) = [s["metadata"]["name"] for s in job.list("secrets")]
    assert secret.startswith("keyed-keys-")
    kubectl("-n", "keyed", "delete", "secret", secret)
    job.edit(runPolicy={"suspend": True})
    kubectl.wait("asgdjob/keyed", "condition=Suspended", "-n", "keyed")
    assert job.list("secrets") == []
    job.edit(runPolicy={"suspend": False})
    until(lambda: job.get("secret", secret), "it has new keys")
