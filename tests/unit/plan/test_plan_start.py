"""Start and resume: what is made, in which order, and what is left alone."""

from asgd_operator.constants import Condition
from asgd_operator.plan.actions import Apply, ApplyLive, CreateOnce, Delete
from tests.unit.plan.builders import condition, make_job, names, told


def test_a_new_job_gets_everything_but_its_workers() -> None:
    assert names(make_job().actions()) == [
        "Apply ConfigMap",
        "Apply ConfigMap",
        "CreateOnce Secret",
        "Apply NetworkPolicy",
        "Apply Service",
        "Apply PodDisruptionBudget",
        "Apply StatefulSet",
    ]


def test_workers_wait_until_every_server_is_ready() -> None:
    starting = make_job().shards(3).with_supports()
    assert starting.with_servers(ready=2).actions() == ()
    assert names(starting.with_servers(ready=3).actions()) == ["Apply Job", "Apply Job"]
    found = starting.with_servers(ready=2).plan()
    says = "2 of 3 parameter servers are ready. Pods are being started."
    assert condition(found, Condition.SERVERS_READY)["message"] == says


def test_a_running_job_needs_no_write() -> None:
    running = make_job().running()
    assert running.actions() == ()
    assert running.plan().status == running.seen.status
    assert running.plan().events == ()


def test_a_lost_service_is_made_again() -> None:
    running = make_job().running()
    others = tuple(child for child in running.seen.others if child.kind != "Service")
    assert names(running.seeing(others=others).actions()) == ["Apply Service"]


def test_an_edit_of_the_target_reaches_the_servers_by_one_config_map() -> None:
    edited = make_job().running().having(stopAfter={"epochs": 3}).edited()
    action, _ = edited.actions()
    assert isinstance(action, Apply)
    assert action.child.name == "x-live"
    assert names(edited.actions()) == ["Apply ConfigMap", "Annotate x-server-0"]


def test_a_running_job_keeps_its_workloads_when_this_version_renders_them_otherwise() -> None:
    scene = make_job().running()
    assert scene.seen.servers is not None and scene.seen.workers is not None
    old = scene.with_servers(spec_hash="older", rendered_hash="older").with_workers(rendered_hash="older")
    assert names(old.actions()) == []


def test_resume_starts_the_servers_first_and_lets_the_workers_go_when_they_are_ready() -> None:
    resumed = make_job().stopped().suspended(False)
    *_, first = resumed.actions()
    assert first == ApplyLive("StatefulSet", "x-server", "u-servers", {"replicas": 2})
    ready = resumed.with_servers(ready=2)
    assert (
        ApplyLive("Job", "x-worker", "u-workers", {"parallelism": 4, "completions": 4, "suspend": False})
        in ready.actions()
    )
    assert "Resumed" in told(resumed.plan())


def test_frozen_fields_edited_while_suspended_remove_the_workloads_that_were_made_from_them() -> None:
    edited = make_job().stopped().shards(3)
    assert [action for action in edited.actions() if isinstance(action, Delete)] == [
        Delete("StatefulSet", "x-server", "u-servers"),
        Delete("Job", "x-worker", "u-workers"),
    ]


def test_workloads_are_made_anew_only_when_the_old_ones_are_gone() -> None:
    resumed = make_job().stopped().shards(3).suspended(False)
    assert all(isinstance(action, Delete) for action in resumed.actions())
    going = resumed.with_servers(replicas=0, ready=0, deleting=True, spec_hash="old").with_workers(
        ready=0, suspended=True, deleting=True, spec_hash="old"
    )
    assert not any("StatefulSet" in name or "Job" in name for name in names(going.actions()))
    gone = resumed.seeing(servers=None, workers=None)
    assert "Apply StatefulSet" in names(gone.actions())


def test_keys_are_made_with_the_servers_and_never_again() -> None:
    first = make_job().actions()
    assert sum(isinstance(action, CreateOnce) for action in first) == 1
    assert not any(isinstance(action, CreateOnce) for action in make_job().with_servers(ready=0).actions())


def test_the_config_of_former_frozen_fields_goes_when_nothing_reads_it() -> None:
    running = make_job().running()
    old = running.seen.others[0]
    assert old.kind == "ConfigMap"
    stale = type(old)(kind="ConfigMap", name="x-spec-old", uid="u-old")
    scene = running.seeing(others=(*running.seen.others, stale))
    assert scene.actions() == (Delete("ConfigMap", "x-spec-old", "u-old"),)


def test_other_devices_of_the_evaluator_replace_the_evaluator_alone() -> None:
    edited = make_job().running().having(evaluation={"devices": {"count": 1}})
    assert Delete("Job", "x-evaluator", "u-eval") in edited.actions()
    assert not any("StatefulSet" in name for name in names(edited.actions()))


def test_a_job_that_is_not_accepted_gets_no_children() -> None:
    found = make_job().with_problem("InvalidPodTemplate", "spec.parameterServer.podTemplate: no.").plan()
    assert found.actions == ()
    assert condition(found, Condition.ACCEPTED)["status"] == "False"
    assert condition(found, Condition.ACCEPTED)["reason"] == "InvalidPodTemplate"
    assert found.status is not None and found.status["phase"] == "Invalid"
    assert told(found) == ["InvalidSpec"]
    assert found.requeue_after is not None


def test_an_edit_that_was_never_seen_suspended_leaves_running_servers_alone_and_says_so() -> None:
    edited = make_job().running().with_report(updates=1).shards(3)
    assert not any("StatefulSet" in name or "Job" in name for name in names(edited.actions()))
    assert condition(edited.plan(), Condition.DEGRADED)["reason"] == "Outdated"


def test_a_gang_follows_an_edit_of_the_least_number_of_workers() -> None:
    """Its PodGroup would keep a worker that is started again from any node while there are fewer than it asks for."""
    running = make_job().having(scheduling={"gang": {}}).workers(4, minimum=3).running()
    assert running.actions() == ()
    fewer = running.workers(2, minimum=1).edited()
    (group,) = (item.child for item in fewer.actions() if isinstance(item, Apply) and item.child.once)
    assert (group.kind, group.manifest["spec"]["minMember"]) == ("PodGroup", 1)
    done = fewer.with_workers().with_supports().written()
    assert done.actions() == (), "once for each edit"
