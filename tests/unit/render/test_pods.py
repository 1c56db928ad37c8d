"""What pods of each role look like: security, budgets, devices, volumes, scheduling."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from msgspec.structs import replace

from asgd.errors import UserError
from asgd.spec import load_job
from asgd_operator.constants import QUEUE_LABEL
from asgd_operator.render import Manifest, Owner, children
from tests.unit.render.builders import KEYS, SETTINGS, container, environment, pod, rendered
from tests.unit.render.golden import names


def _workloads(*sets: str, name: str = "smallest") -> list[Manifest]:
    made = rendered(*sets, name=name)
    return [made.servers, made.workers, *([made.evaluator] if made.evaluator else [])]


def test_what_any_container_of_a_pod_prints_before_it_fails_stands_in_the_pods_status() -> None:
    own = "workers.podTemplate.spec.initContainers=[{name: fetch, image: x}, {name: s, terminationMessagePolicy: File}]"
    spec = pod(rendered(own).workers)
    policies = {item["name"]: item["terminationMessagePolicy"] for item in spec["initContainers"]}
    assert policies == {"fetch": "FallbackToLogsOnError", "s": "File"}
    assert container(rendered(own).workers)["terminationMessagePolicy"] == "FallbackToLogsOnError"


@pytest.mark.parametrize("name", names())
def test_every_pod_meets_the_restricted_standard_with_a_read_only_root(name: str) -> None:
    for workload in _workloads(name=name):
        spec, main = pod(workload), container(workload)
        assert spec["automountServiceAccountToken"] is False
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        assert main["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        }
        assert "/tmp" in {mount["mountPath"] for mount in main["volumeMounts"]}


def test_pods_leave_a_node_that_does_not_answer_after_30_seconds() -> None:
    for workload in _workloads():
        seconds = {item["key"]: item["tolerationSeconds"] for item in pod(workload)["tolerations"]}
        assert seconds == {"node.kubernetes.io/not-ready": 30, "node.kubernetes.io/unreachable": 30}


def test_evictions_and_drains_cost_a_worker_nothing_and_fatal_codes_end_the_job() -> None:
    spec = rendered("workers.exitCodes.fatal=[78, 2]", "workers.backoffLimitPerIndex=3").workers["spec"]
    disrupted, drained, fatal = spec["podFailurePolicy"]["rules"]
    assert (disrupted["action"], disrupted["onPodConditions"][0]["type"]) == ("Ignore", "DisruptionTarget")
    assert (drained["action"], drained["onExitCodes"]["values"]) == ("Ignore", [143])
    assert (fatal["action"], fatal["onExitCodes"]["values"]) == ("FailJob", [2, 78])
    assert spec["backoffLimitPerIndex"] == 3 and "maxFailedIndexes" not in spec


def test_without_fatal_codes_every_failure_is_tried_again() -> None:
    rules = rendered("workers.exitCodes.fatal=[]").workers["spec"]["podFailurePolicy"]["rules"]
    assert {rule["action"] for rule in rules} == {"Ignore"}


def test_scaling_is_parallelism_and_completions_of_one_indexed_job() -> None:
    spec = rendered("workers.replicas=7").workers["spec"]
    assert (spec["parallelism"], spec["completions"], spec["completionMode"]) == (7, 7, "Indexed")


def test_a_worker_may_drain_as_long_as_it_was_given_and_then_has_time_to_exit() -> None:
    assert pod(rendered("workers.drainSeconds=7.5").workers)["terminationGracePeriodSeconds"] == 13


def test_devices_become_limits_beside_the_limits_that_were_given() -> None:
    made = rendered(
        "workers.devices={count: 2, resourceName: nvidia.com/mig-1g.5gb}",
        "workers.resources={limits: {memory: 1Gi}}",
    )
    limits = container(made.workers)["resources"]["limits"]
    assert limits == {"memory": "1Gi", "nvidia.com/mig-1g.5gb": "2"}
    assert container(made.evaluator)["resources"]["limits"] == {"memory": "1Gi"}


def test_a_job_that_asks_for_no_devices_requests_none() -> None:
    for workload in _workloads():
        assert "limits" not in container(workload)["resources"]


def test_servers_run_the_slim_image_and_workers_the_users() -> None:
    servers, workers, evaluator = (container(each)["image"] for each in _workloads("image=me/mine:1"))
    assert (servers, workers, evaluator) == ("asgd-operator:test", "me/mine:1", "me/mine:1")
    assert container(rendered().workers)["image"] == "asgd-trainer:test"


def test_a_suspended_job_has_no_servers_and_suspended_jobs() -> None:
    made = rendered("runPolicy.suspend=true")
    assert made.servers["spec"]["replicas"] == 0
    assert made.workers["spec"]["suspend"] is made.evaluator["spec"]["suspend"] is True


def test_a_queue_gets_the_jobs_which_wait_from_the_first_moment_and_not_the_servers() -> None:
    made = rendered("scheduling.queueName=team-a")
    for workload in (made.workers, made.evaluator):
        assert workload["metadata"]["labels"][QUEUE_LABEL] == "team-a"
        assert workload["spec"]["suspend"] is True
    assert QUEUE_LABEL not in made.servers["metadata"]["labels"]
    assert made.workers["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"


def test_a_gang_counts_the_least_workers_and_no_server_that_they_wait_for() -> None:
    made = rendered("scheduling.gang={}", "workers.minReplicas=3")
    assert made.gang is not None and made.gang["spec"]["minMember"] == 3
    label = "scheduling.x-k8s.io/pod-group"
    assert made.workers["spec"]["template"]["metadata"]["labels"][label] == "digits-worker"
    assert label not in made.servers["spec"]["template"]["metadata"]["labels"]


def test_volcano_gets_its_own_kind_of_group() -> None:
    made = rendered("scheduling.gang={provider: volcano}")
    assert made.gang is not None and made.gang["apiVersion"] == "scheduling.volcano.sh/v1beta1"
    annotations = made.workers["spec"]["template"]["metadata"]["annotations"]
    assert annotations["scheduling.k8s.io/group-name"] == "digits-worker"
    assert pod(made.workers)["schedulerName"] == pod(made.servers)["schedulerName"] == "volcano"
    own = rendered("scheduling={schedulerName: mine, gang: {provider: volcano}}")
    assert pod(own.workers)["schedulerName"] == "mine"


@pytest.mark.parametrize(
    ("sets", "directory", "source"),
    [
        ([], "/var/lib/asgd/checkpoints", {"emptyDir": {}}),
        (
            ["checkpoint={uri: /ck/, volume: {pvc: mine}}"],
            "/ck",
            {"persistentVolumeClaim": {"claimName": "mine"}},
        ),
        (
            ["checkpoint={uri: 'file:///ck', volume: {emptyDir: {sizeLimit: 1Gi}}}"],
            "/ck",
            {"emptyDir": {"sizeLimit": "1Gi"}},
        ),
        (["checkpoint={uri: /ck}"], "/ck", {"emptyDir": {}}),
    ],
)
def test_checkpoints_go_to_a_volume_at_the_path_of_the_uri(
    sets: list[str], directory: str, source: Manifest
) -> None:
    servers = rendered(*sets).servers
    volume = next(item for item in pod(servers)["volumes"] if item["name"] == "checkpoint")
    assert volume == {"name": "checkpoint", **source}
    mounts = {item["name"]: item["mountPath"] for item in container(servers)["volumeMounts"]}
    assert mounts["checkpoint"] == directory
    assert environment(servers)["ASGD_CHECKPOINT"].removeprefix("file://").rstrip("/") == directory


def test_checkpoints_in_an_object_store_need_no_volume() -> None:
    servers = rendered("checkpoint.uri=s3://bucket/run").servers
    assert "checkpoint" not in {item["name"] for item in pod(servers)["volumes"]}
    assert environment(servers)["ASGD_CHECKPOINT"] == "s3://bucket/run"


def test_the_evaluator_reaches_the_store_of_the_best_model_and_of_nothing_else() -> None:
    best = "best: {metric: accuracy, mode: max}"
    made = rendered(f"checkpoint={{uri: /ck, volume: {{pvc: mine}}, {best}}}").evaluator
    assert made is not None
    volume = next(item for item in pod(made)["volumes"] if item["name"] == "checkpoint")
    assert volume["persistentVolumeClaim"] == {"claimName": "mine"}
    told = environment(made)
    assert told["ASGD_CHECKPOINT"] == "/ck" and told["ASGD_RUN"]
    bucket = rendered(f"checkpoint={{uri: 's3://bucket/run', {best}}}").evaluator
    assert bucket is not None and environment(bucket)["ASGD_CHECKPOINT"] == "s3://bucket/run"
    without = rendered("checkpoint={uri: /ck, volume: {pvc: mine}}").evaluator
    assert without is not None and "ASGD_CHECKPOINT" not in environment(without)


@pytest.mark.parametrize("sets", [[], ["checkpoint.uri=/ck"]])
def test_a_best_model_on_a_volume_of_the_servers_own_pods_is_refused_by_name(sets: list[str]) -> None:
    with pytest.raises(
        UserError, match=r"^spec.checkpoint.best: the evaluator writes the best model, and does not see"
    ):
        rendered(*sets, "checkpoint.best={metric: accuracy, mode: max}")


def test_servers_and_workers_mount_the_memory_of_their_node_and_are_told_where() -> None:
    made = rendered("exchange.sharedMemory={pvc: node-memory}")
    for workload in (made.servers, made.workers):
        (volume,) = (item for item in pod(workload)["volumes"] if item["name"] == "shared-memory")
        assert volume["persistentVolumeClaim"] == {"claimName": "node-memory"}
        mounts = {item["name"]: item for item in container(workload)["volumeMounts"]}
        mount = {"name": "shared-memory", "mountPath": "/var/lib/asgd/shared-memory"}
        assert mounts["shared-memory"] == mount
        assert environment(workload)["ASGD_SHM"] == mount["mountPath"]
        # By its group a user that is not root may write there.
        assert pod(workload)["securityContext"]["fsGroup"] == 65532
    assert "shared-memory" not in {item["name"] for item in pod(made.evaluator)["volumes"]}
    assert "ASGD_SHM" not in environment(made.evaluator)


def test_pods_of_a_job_without_shared_memory_look_for_none() -> None:
    for workload in _workloads():
        assert "ASGD_SHM" not in environment(workload)
        assert all("persistentVolumeClaim" not in item for item in pod(workload)["volumes"])


RECORDED = ("record={pvc: logs}", "checkpoint={uri: /checkpoints, volume: {pvc: models}}")


@pytest.mark.parametrize(
    ("sets", "of_servers", "claims"),
    [
        (RECORDED, "recording", ["models", "logs"]),
        ((*RECORDED, "record.pvc=models"), "checkpoint", ["models"]),
    ],
)
def test_servers_and_workers_of_a_recorded_job_write_into_a_folder_of_the_job_on_its_claim(
    sets: tuple[str, ...], of_servers: str, claims: list[str]
) -> None:
    made = rendered(*sets)
    for workload, volume in ((made.servers, of_servers), (made.workers, "recording")):
        mounts = [item for item in container(workload)["volumeMounts"] if "recording" in item["mountPath"]]
        assert mounts == [{"name": volume, "mountPath": "/var/lib/asgd/recording"}]
        assert (
            environment(workload)["ASGD_RECORD"]
            == "/var/lib/asgd/recording/replay/digits-11111111-2222-3333-4444-555555555555"
        )
    named = [item.get("persistentVolumeClaim", {}).get("claimName") for item in pod(made.servers)["volumes"]]
    assert [claim for claim in named if claim] == claims
    assert "ASGD_RECORD" not in environment(made.evaluator)
    page = rendered(*sets, "page.enabled=true").servers["spec"]["template"]["spec"]["containers"][1]
    assert not any("recording" in mount["mountPath"] for mount in page["volumeMounts"])
    assert all("ASGD_RECORD" not in environment(each) for each in _workloads())


def test_every_process_of_a_job_begins_with_its_live_fields() -> None:
    for workload in _workloads():
        (mount,) = (item for item in container(workload)["volumeMounts"] if item["name"] == "live")
        (volume,) = (item for item in pod(workload)["volumes"] if item["name"] == "live")
        assert environment(workload)["ASGD_LIVE"] == f"{mount['mountPath']}/live.json"
        assert volume["configMap"] == {"name": "digits-live"} and mount["readOnly"]


def test_priority_class_scheduler_and_spread_reach_the_servers() -> None:
    spec = pod(rendered("parameterServer.priorityClassName=high", "scheduling.schedulerName=mine").servers)
    assert (spec["priorityClassName"], spec["schedulerName"]) == ("high", "mine")
    assert spec["topologySpreadConstraints"][0]["whenUnsatisfiable"] == "ScheduleAnyway"


def test_each_pod_learns_its_index_from_its_label() -> None:
    servers, workers, evaluator = (environment(each)["ASGD_INDEX"] for each in _workloads())
    assert "apps.kubernetes.io/pod-index" in servers["fieldRef"]["fieldPath"]
    assert "batch.kubernetes.io/job-completion-index" in workers["fieldRef"]["fieldPath"]
    assert evaluator == "0"


def test_every_pod_of_a_job_may_pull_from_the_registries_of_the_installation_and_of_its_template() -> None:
    own = "podTemplate.spec.imagePullSecrets=[{name: team}, {name: all}]"
    settings = replace(SETTINGS, image_pull_secrets=("all", "mirror"))
    made = rendered(f"workers.{own}", f"parameterServer.{own}", "page.enabled=true", settings=settings)
    for workload in (made.servers, made.workers, made.evaluator):
        assert pod(workload)["imagePullSecrets"] == [{"name": "all"}, {"name": "mirror"}, {"name": "team"}]
    assert "page" in {item["name"] for item in pod(made.servers)["containers"]}
    assert pod(rendered(settings=settings).workers)["imagePullSecrets"] == [
        {"name": "all"},
        {"name": "mirror"},
    ]


def test_the_job_of_the_page_on_s3_gives_bucket_and_certificate_to_every_pod(tmp_path: Path) -> None:
    page = (Path(__file__).parents[3] / "docs" / "how-to" / "s3.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```yaml\n(.*?)^```", page, re.M | re.S)
    (tmp_path / "bucket.yaml").write_text(block)
    found = load_job(tmp_path / "bucket.yaml")
    made = children(found, Owner("1", found.name, "train"), SETTINGS, KEYS)
    for workload in (made.servers, made.workers, made.evaluator):
        main = container(workload)
        assert main["envFrom"] == [{"secretRef": {"name": "bucket"}}]
        mount = {"name": "bucket", "mountPath": "/etc/bucket", "readOnly": True}
        assert mount in main["volumeMounts"] and len(main["volumeMounts"]) > 1
        secret = {"secretName": "bucket", "items": [{"key": "ca.crt", "path": "ca.crt"}]}
        assert {"name": "bucket", "secret": secret} in pod(workload)["volumes"]
