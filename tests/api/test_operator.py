"""The operator as a process against a real API server with the real controllers; kubelets are played by the tests."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from asgd.spec.status import CheckpointView, StalenessView, Status
from asgd_operator.render import Owner, names
from tests.api.acting import QUICK, Job, OperatorProcess, ShardZero, clear, operator, until
from tests.cluster.kubectl import Kubectl
from tests.cluster.shell import ClusterError

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)  # they wait for controllers, on a machine that may be busy


def started(kubectl: Kubectl, name: str, shard: ShardZero, **spec: Any) -> Job:
    """A job that trains: two servers and two workers are ready."""
    job = Job(kubectl, name, shard.port)
    defaults: dict[str, Any] = {"parameterServer": {"shards": 2}, "workers": {"replicas": 2}}
    job.create(**(defaults | spec))
    job.start_pods("server", 2)
    job.start_pods("worker", 2)
    job.phase("Running")
    until(lambda: job.status["workers"]["ready"] == 2, "both workers are ready")
    return job


def identities(job: Job) -> dict[str, tuple[str, str]]:
    """Name -> (uid, creation) of every pod and workload."""
    kinds = ("pods", "statefulsets", "jobs")
    items = [item["metadata"] for kind in kinds for item in job.list(kind)]
    return {item["name"]: (item["uid"], item["creationTimestamp"]) for item in items}


def test_children_appear_with_the_job_as_their_owner_and_workers_only_after_the_servers(
    kubectl: Kubectl, running: OperatorProcess
) -> None:
    job = Job(kubectl, "first")
    job.create(parameterServer={"shards": 2}, workers={"replicas": 3})
    until(lambda: job.get("statefulset", "first-server"), "the StatefulSet exists")
    uid = job.get("asgdjob", "first")["metadata"]["uid"]
    for kind, name in (
        ("statefulset", "first-server"),
        ("service", "first-server"),
        ("configmap", "first-live"),
        ("secret", names.keys(Owner(uid, "first", "first"))),
        ("networkpolicy", "first"),
        ("poddisruptionbudget", "first-server"),
    ):
        owners = job.get(kind, name)["metadata"]["ownerReferences"]
        assert [(owner["kind"], owner["uid"]) for owner in owners] == [("AsgdJob", uid)], kind
    job.phase("Starting")
    until(lambda: job.condition("Accepted").get("status") == "True", "it is accepted")

    until(lambda: len(job.pods("server")) == 2, "server pods exist")
    assert job.list("jobs") == []
    job.start_pods("server", 2)
    worker = until(lambda: job.get("job", "first-worker"), "the worker Job exists")
    assert (worker["spec"]["parallelism"], worker["spec"]["completions"]) == (3, 3)
    until(
        lambda: job.condition("ParameterServersReady")["status"] == "True", "the servers are said to be ready"
    )
    job.start_pods("worker", 3)
    job.phase("Running")
    told = {"Accepted", "ServersStarted", "ServersReady", "TrainingStarted"}
    until(lambda: told <= set(job.events()), "events are told")


def test_scaling_changes_the_size_of_the_worker_job_and_nothing_else(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "scaled", shard)
    before = identities(job)
    kubectl("-n", "scaled", "scale", "asgdjob/scaled", "--replicas=4")
    until(lambda: len(job.pods("worker")) == 4, "two more workers exist")
    after = identities(job)
    assert {name: after[name] for name in before} == before
    worker = job.get("job", "scaled-worker")["spec"]
    assert (worker["parallelism"], worker["completions"]) == (4, 4)
    job.start_pods("worker", 4)
    until(lambda: job.status["workers"]["ready"] == 4, "four workers are ready")
    scale = json.loads(
        kubectl("get", "--raw", "/apis/asgd.dev/v1alpha1/namespaces/scaled/asgdjobs/scaled/scale")
    )
    assert scale["status"] == {"replicas": 4, "selector": "asgd.dev/job-name=scaled,asgd.dev/role=worker"}

    job.edit(workers={"replicas": 1})
    until(
        lambda: len([p for p in job.pods("worker") if p["status"]["phase"] == "Running"]) == 1,
        "one worker is left",
    )
    left = identities(job)
    assert {n: u for n, u in left.items() if "server" in n} == {
        n: u for n, u in before.items() if "server" in n
    }


def test_an_edit_of_a_live_field_annotates_the_pod_of_shard_0_once(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = Job(kubectl, "prompt", shard.port)
    job.create()
    job.start_pods("server", 1)
    job.start_pods("worker", 4)

    def told() -> str:
        return str(job.pods("server")[0]["metadata"].get("annotations", {}).get("asgd.dev/live-fields", ""))

    assert told() == ""
    seen = []
    for updates in (1000, 2000):
        job.edit(stopAfter={"updates": updates})
        until(lambda: told() not in ("", *seen), "the pod is annotated anew")
        seen.append(told())
        fields = job.get("configmap", "prompt-live")["data"]
        assert str(updates) in next(iter(fields.values()))
    version = job.pods("server")[0]["metadata"]["resourceVersion"]
    passes = running.passes()
    job.edit(stopAfter={"updates": 2000}, workers={"minReplicas": 1})
    until(lambda: running.passes() >= passes + 2, "it was looked at again")
    assert (job.pods("server")[0]["metadata"]["resourceVersion"], told()) == (version, seen[-1])


def test_the_status_carries_what_shard_0_says(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    shard.status = Status(
        job="told",
        phase="running",
        algorithm="asgd",
        updates=412,
        samples=5273,
        loss=0.41234,
        samples_per_second=9120.5,
        staleness=StalenessView(p50=3, p99=11),
        progress=0.41,
        checkpoint=CheckpointView(updates=400, uri="file:///c", seconds_ago=3, bytes=17),
        terms=[2, 3],
    )
    job = started(kubectl, "told", shard)
    training = until(lambda: job.status.get("training"), "the figures are there")
    assert (training["updates"], training["samples"], training["samplesPerSecond"]) == (412, 5273, 9120.5)
    assert (training["stalenessP50"], training["stalenessP99"], training["progressPercent"]) == (3, 11, 41)
    assert job.status["checkpoint"]["lastUpdates"] == 400
    assert job.status["term"] == 3
    columns = kubectl("-n", "told", "get", "asgdjob", "told", "--no-headers").split()
    assert columns[:8] == ["told", "Running", "TrainingProgressing", "2", "2", "2", "412", "9120.5"]


def test_a_job_completes_by_the_report_and_keeps_its_finished_pods(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "done", shard)
    shard.status = Status(job="done", phase="finished", algorithm="asgd", updates=40, stop_reason="epochs")
    job.phase("Completing")
    job.end_pods("worker", "Succeeded", 0)
    job.end_pods("evaluator", "Succeeded", 0)
    kubectl.wait("asgdjob/done", "condition=Complete", "-n", "done")
    assert job.condition("Complete")["reason"] == "TargetReached"
    until(lambda: job.get("statefulset", "done-server") is None, "the servers are removed")
    assert [pod["status"]["phase"] for pod in job.pods("worker")] == ["Succeeded", "Succeeded"]
    until(lambda: {"TargetReached", "Completed"} <= set(job.events()), "events are told")


def test_a_fatal_exit_code_fails_the_job_and_its_evidence_stays(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "fatal", shard)
    failed = job.pods("worker")[0]["metadata"]["name"]
    job.end_pods("worker", "Running", 2, "no module named train", most=1)  # the phase comes a moment later
    kubectl.wait("asgdjob/fatal", "condition=Failed", "-n", "fatal")
    found = job.condition("Failed")
    assert found["reason"] == "FatalExitCode"
    assert "exit" in found["message"] and "fatal-worker" in found["message"]
    job.end_pods("worker", "Failed", 2, "no module named train", most=1)
    until(lambda: job.get("statefulset", "fatal-server") is None, "the servers are removed")
    assert job.get("pod", failed)["status"]["phase"] == "Failed", "with its log"
    kept = job.status["lastFailure"]
    assert (kept["role"], kept["container"], kept["exitCode"]) == ("worker", "asgd", 2)
    assert (kept["message"], kept["pod"]) == ("no module named train", failed)
    until(lambda: "WorkerFailed" in job.events(), "there is an event")


def test_suspend_reshard_and_resume_make_the_workloads_anew(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "paused", shard)
    old = job.get("statefulset", "paused-server")["metadata"]["uid"]
    with pytest.raises(ClusterError, match="frozen while the job runs"):
        job.edit(parameterServer={"shards": 3})
    job.edit(runPolicy={"suspend": True})
    kubectl.wait("asgdjob/paused", "condition=Suspended", "-n", "paused")
    assert job.pods("worker") == [] and job.pods("server") == []
    assert job.get("job", "paused-worker")["spec"]["suspend"] is True

    job.edit(parameterServer={"shards": 3}, runPolicy={"suspend": False})
    job.start_pods("server", 3)
    made = job.get("statefulset", "paused-server")
    assert (made["metadata"]["uid"] != old, made["spec"]["replicas"]) == (True, 3)
    job.start_pods("worker", 2)
    job.phase("Running")
    until(lambda: {"Suspended", "Resumed"} <= set(job.events()), "events are told")
    specs = [
        item["metadata"]["name"] for item in job.list("configmaps") if "-spec-" in item["metadata"]["name"]
    ]
    assert len(specs) == 1


@pytest.mark.parametrize(
    ("name", "template", "says"),
    [
        ("bad-value", {"volumes": [{"name": "Not_A_Name"}]}, "Not_A_Name"),
        ("bad-type", {"nodeSelector": ["gpu"]}, "nodeSelector"),
    ],
)
def test_a_bad_pod_template_is_a_sentence_and_no_child(
    kubectl: Kubectl, running: OperatorProcess, name: str, template: dict[str, Any], says: str
) -> None:
    job = Job(kubectl, name)
    job.create(workers={"replicas": 1, "podTemplate": {"spec": template}})
    until(lambda: job.condition("Accepted").get("status") == "False", "it is refused")
    found = job.condition("Accepted")
    assert found["reason"] == "InvalidPodTemplate"
    assert found["message"].startswith("spec.workers") and says in found["message"]
    assert job.list("statefulsets") == [] and job.list("jobs") == []
    assert job.status["phase"] == "Invalid"
    job.edit(runPolicy={"suspend": True}, workers={"podTemplate": None})
    until(lambda: job.condition("Accepted").get("status") == "True", "the mended job is accepted")


@pytest.mark.parametrize(
    ("name", "field", "spec"),
    [
        (
            "claim",
            "spec.checkpoint.volume.pvc",
            {"checkpoint": {"uri": "file:///ckpt", "volume": {"pvc": "models"}}},
        ),
        ("memory", "spec.exchange.sharedMemory.pvc", {"exchange": {"sharedMemory": {"pvc": "models"}}}),
        ("logs", "spec.record.pvc", {"record": {"pvc": "models"}, "checkpoint": {"uri": "s3://bucket/run"}}),
    ],
)
def test_a_claim_that_does_not_exist_is_waited_for(
    kubectl: Kubectl, running: OperatorProcess, name: str, field: str, spec: dict[str, Any]
) -> None:
    job = Job(kubectl, name)
    job.create(**spec)
    until(lambda: job.condition("Accepted").get("reason") == "StorageNotFound", "the claim is missed")
    assert job.condition("Accepted")["message"].startswith(
        f"{field}: there is no PersistentVolumeClaim models"
    )
    resources = {"requests": {"storage": "1Gi"}}
    wanted = {"accessModes": ["ReadWriteOnce"], "resources": resources}
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": "models"},
        "spec": wanted,
    }
    kubectl.apply(claim, namespace=name)
    until(lambda: job.get("statefulset", f"{name}-server"), "the job goes on")


def test_a_workload_of_somebody_else_is_not_taken_over(kubectl: Kubectl, running: OperatorProcess) -> None:
    job = Job(kubectl, "taken")
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "taken"}})
    ports = [{"port": 80}]
    theirs = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "taken-server"},
        "spec": {"ports": ports},
    }
    kubectl.apply(theirs, namespace="taken")
    before = job.get("service", "taken-server")
    job.apply()
    until(lambda: job.condition("Accepted").get("reason") == "NameTaken", "the conflict is seen")
    assert job.get("service", "taken-server") == before


def test_a_job_of_another_manager_is_left_alone(kubectl: Kubectl, running: OperatorProcess) -> None:
    job = Job(kubectl, "theirs")
    job.create(managedBy="kueue.x-k8s.io/multikueue")
    seen = running.passes()
    until(lambda: running.passes() > seen + 5, "the operator has gone round")
    assert (
        job.status == {"observedGeneration": -1}
        and job.list("configmaps")[0]["metadata"]["name"] == "kube-root-ca.crt"
    )


def test_a_job_is_deleted_when_its_time_to_live_is_over(kubectl: Kubectl, running: OperatorProcess) -> None:
    job = Job(kubectl, "brief")
    job.create(runPolicy={"activeDeadlineSeconds": 1, "ttlSecondsAfterFinished": 3})
    kubectl.wait("asgdjob/brief", "condition=Failed", "-n", "brief")
    assert job.condition("Failed")["reason"] == "DeadlineExceeded"
    until(lambda: job.get("asgdjob", "brief") is None, "the job is gone")
    until(lambda: job.list("statefulsets") == [] and job.list("jobs") == [], "its children follow it")


def test_a_lost_child_is_made_again(kubectl: Kubectl, running: OperatorProcess, shard: ShardZero) -> None:
    job = started(kubectl, "healed", shard)
    kubectl("-n", "healed", "delete", "service", "healed-server")
    until(lambda: job.get("service", "healed-server"), "the Service is back")


def test_an_idle_operator_writes_nothing(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    clear(kubectl)
    shard.status = Status(job="idle", phase="running", algorithm="asgd", updates=7)
    job = started(kubectl, "idle", shard)
    until(lambda: job.status.get("training"), "the figures are there")
    until(lambda: quiet(running), "all earlier jobs have come to rest", 120)
    versions = {
        item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in job.list("statefulsets,jobs")
    }
    writes, passes = running.writes(), running.passes()
    until(lambda: running.passes() >= passes + 20, "twenty more passes are made")
    assert running.writes() == writes
    now = {
        item["metadata"]["uid"]: item["metadata"]["resourceVersion"] for item in job.list("statefulsets,jobs")
    }
    assert now == versions
    metadata = job.get("asgdjob", "idle")["metadata"]
    assert "finalizers" not in metadata
    assert not metadata.get("annotations")


def quiet(process: OperatorProcess) -> bool:
    before = process.writes()
    time.sleep(3)
    return process.writes() == before


def test_an_operator_that_is_started_again_repeats_nothing(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero, tmp_path: Path
) -> None:
    clear(kubectl)
    shard.status = Status(job="again", phase="running", algorithm="asgd", updates=7)
    job = started(kubectl, "again", shard)
    until(lambda: job.status.get("training"), "the figures are there")
    until(lambda: quiet(running), "the first operator rests", 120)
    status, events = job.status, job.events()
    with operator(kubectl, tmp_path, **QUICK) as second:
        until(lambda: second.passes() >= 10, "the second operator has seen every job")
        assert second.writes() == 0, second.samples("asgd_operator_kube_requests_total")
    assert (job.status, job.events()) == (status, events)


def test_metrics_tell_of_jobs_and_go_with_them(
    kubectl: Kubectl, running: OperatorProcess, shard: ShardZero
) -> None:
    job = started(kubectl, "counted", shard)
    key = '{name="counted",namespace="counted",state="ready"}'
    until(lambda: running.samples("asgd_operator_job_workers").get(key) == 2, "two workers are counted")
    labels = '{name="counted",namespace="counted",status="true",type="Running"}'
    assert running.samples("asgd_operator_job_condition")[labels] == 1
    assert running.samples("asgd_operator_jobs")['{phase="Running"}'] >= 1
    assert running.samples("asgd_operator_queue_depth")[""] >= 0
    assert '{resource="asgdjobs"}' in running.samples("asgd_operator_watch_last_event_timestamp_seconds")
    kubectl("-n", "counted", "delete", "asgdjob", "counted")
    until(lambda: 'name="counted"' not in running.get("/metrics")[1], "its series are gone")
    assert job.list("asgdjobs") == []


def test_a_spent_quota_is_a_sentence_and_its_end_is_noticed(
    kubectl: Kubectl, running: OperatorProcess
) -> None:
    job = Job(kubectl, "late")
    kubectl.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "late"}})
    quota = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "small"}}
    kubectl.apply(quota | {"spec": {"hard": {"count/statefulsets.apps": "0"}}}, namespace="late")
    until(lambda: job.get("resourcequota", "small").get("status"), "the quota counts")
    job.apply()
    until(lambda: job.condition("Accepted").get("reason") == "QuotaExceeded", "the quota is seen")
    assert "exceeded quota: small" in job.condition("Accepted")["message"]
    kubectl("-n", "late", "delete", "resourcequota", "small")
    until(lambda: job.get("statefulset", "late-server"), "the job goes on")
