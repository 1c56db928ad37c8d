"""A job in a queue of Kueue: what is made when, what it says, and that its clocks stand still."""

from dataclasses import replace

from asgd_operator.constants import Condition, Role
from asgd_operator.plan import queueing
from asgd_operator.plan.actions import Apply, ApplyLive, Delete
from asgd_operator.plan.model import Held
from tests.unit.plan.builders import Scene, condition, make_job, names, pod, told

SHORT = "couldn't assign flavors to pod set main: insufficient unused quota for cpu in flavor small, 1 more needed"


def queued() -> Scene:
    return make_job().having(scheduling={"queueName": "gpu"})


def waiting() -> Scene:
    return queued().with_supports().with_workers(ready=0, suspended=True).written()


def let_go() -> Scene:
    return waiting().with_workers(ready=0).written()


def training() -> Scene:
    return queued().running().with_report(updates=7).written()


def taken_back() -> Scene:
    return training().with_workers(ready=0, suspended=True).seeing(evaluator=None).written()


# What is made, and when.
def test_a_job_with_a_queue_makes_its_workers_job_first_and_suspended_and_no_server() -> None:
    actions = queued().actions()
    assert names(actions)[-1] == "Apply Job"
    assert "Apply StatefulSet" not in names(actions)
    (made,) = (item.child for item in actions if isinstance(item, Apply) and item.child.stage == "worker")
    assert made.manifest["spec"]["suspend"] is True
    assert "kueue.x-k8s.io/queue-name" in made.manifest["metadata"]["labels"]


def test_a_job_that_waits_in_a_queue_makes_nothing_and_holds_nothing() -> None:
    assert waiting().actions() == ()
    gang = queued().having(scheduling={"gang": {}}).with_supports().with_workers(ready=0, suspended=True)
    assert gang.written().actions() == (), "nor its PodGroup again and again"


def test_servers_start_when_the_queue_lets_the_workers_go() -> None:
    first = waiting().with_workers(ready=0)
    assert "Apply StatefulSet" in names(first.actions())
    assert "Apply Job" not in names(first.actions()), "an evaluator has nothing to evaluate yet"
    ready = let_go().with_servers()
    assert names(ready.actions()) == ["Apply Job"]


def test_only_jobs_are_put_in_the_queue_for_servers_there_would_hold_what_their_workers_wait_for() -> None:
    server, *jobs = (item for item in queued().wanted() if item.stage != "support")
    assert server.kind == "StatefulSet"
    assert "kueue.x-k8s.io/queue-name" not in server.manifest["metadata"]["labels"]
    assert all(item.manifest["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpu" for item in jobs)


def test_workers_that_a_queue_takes_back_leave_their_servers_and_take_the_evaluator_along() -> None:
    back = training().with_evaluator(active=1).with_workers(ready=0, suspended=True)
    assert back.actions() == (Delete("Job", "x-evaluator", "u-eval"),)
    gone = back.seeing(evaluator=None).written()
    assert gone.actions() == ()
    again = gone.with_workers()
    assert names(again.actions()) == ["Apply Job"], "the evaluator comes back with the workers"


def test_workers_that_run_on_without_quota_are_sent_back_to_the_queue_as_a_new_job() -> None:
    """Kueue 0.17 leaves them running when it takes quota back from a job that waits for more of it."""
    held = pod(Role.WORKER, 4, ready=False, gated=True, node="", phase="Pending")
    grown = training().workers(5).with_workers(ready=4).with_pods(held).with_evaluator(active=1).written()
    evicted = grown.seeing(queue_says={"u-workers": Held(SHORT, evicted=True)}).workers(6)
    gone = [Delete("Job", "x-worker", "u-workers"), Delete("Job", "x-evaluator", "u-eval")]
    writes = [action for action in evicted.actions() if isinstance(action, Delete | ApplyLive)]
    assert writes == gone, "it is not resized as well"
    assert evicted.seen.workers is not None
    leaving = evicted.seeing(workers=replace(evicted.seen.workers, deleting=True), evaluator=None)
    assert not [action for action in leaving.actions() if isinstance(action, Delete)], "it is deleted once"
    back = leaving.seeing(workers=None, queue_says={}).written()
    assert "Apply Job" in names(back.actions())
    assert back.seen.status["phase"] == "Queued"


def test_a_job_that_kueue_would_not_start_again_is_made_anew_when_its_workers_have_left() -> None:
    """Kueue 0.17 does not start a Job whose template names another Workload, as that of a job that has grown does."""
    back = taken_back().seeing(evaluator=None)
    used = back.with_workers(ready=0, suspended=True, used=True)
    assert used.actions() == (Delete("Job", "x-worker", "u-workers"),)
    assert used.with_pods(pod(Role.WORKER, 0)).actions() == (), "while workers leave it stays"
    assert training().with_workers(used=True).actions() == (), "a running job is left alone"


def test_a_queued_job_that_is_resumed_waits_for_its_turn_before_its_servers_come() -> None:
    stopped = queued().suspended().with_supports().with_servers(replicas=0, ready=0).written()
    resumed = stopped.suspended(False)
    assert names(resumed.actions())[-2:] == ["CreateOnce Secret", "Apply Job"]
    waits = resumed.with_supports().with_workers(ready=0, suspended=True).written()
    assert waits.actions() == ()
    (*_, servers) = waits.with_workers(ready=0).actions()
    assert servers == ApplyLive("StatefulSet", "x-server", "u-servers", {"replicas": 2})


# What it says.
def test_a_job_in_a_queue_says_so_in_its_phase_and_each_condition() -> None:
    found = waiting().plan()
    assert found.status is not None
    says = "Queue gpu has not let the workers start yet."
    assert (found.status["phase"], found.status["message"]) == ("Queued", says)
    kinds = (Condition.SERVERS_READY, Condition.WORKERS_READY, Condition.RUNNING)
    assert {condition(found, kind)["reason"] for kind in kinds} == {"Queued"}
    assert condition(found, Condition.DEGRADED)["reason"] == "AsExpected"


def test_kueue_is_asked_for_its_reason_when_the_wait_is_longer_than_a_moment() -> None:
    scene = waiting()
    assert queueing.puzzling(scene.after(9).observed()) == []
    assert scene.after(4).plan().requeue_after == 6
    assert queueing.puzzling(scene.after(10).observed()) == [("u-workers", "x-worker")]
    assert scene.after(10).plan().requeue_after == queueing.AGAIN_SECONDS
    told_why = scene.after(10).seeing(queue_says={"u-workers": Held(SHORT)}).plan()
    says = f"Queue gpu has not let the workers start yet: {SHORT}."
    assert condition(told_why, Condition.WORKERS_READY)["message"] == says


def test_a_job_that_is_suspended_or_refused_asks_no_queue() -> None:
    assert queueing.puzzling(waiting().after(60).suspended().observed()) == []
    assert queueing.puzzling(waiting().after(60).with_problem("QueueNotFound", "no").observed()) == []


def test_who_waits_is_told_once_and_who_goes_too() -> None:
    first = queued().plan()
    assert told(first) == ["Accepted", "Queued"]
    assert told(waiting().plan()) == []
    assert "Admitted" in told(waiting().with_workers(ready=0).plan())
    assert told(let_go().plan()) == ["ServersStarted"]


def test_a_job_whose_workers_were_taken_back_says_so_and_warns_once() -> None:
    back = training().with_workers(ready=0, suspended=True)
    found = back.plan()
    assert found.status is not None
    assert (found.status["phase"], found.status["message"]) == (
        "Queued",
        "Queue gpu has taken the workers back.",
    )
    (event,) = (item for item in found.events if item.reason == "Queued")
    assert event.warning
    assert "WorkersBelowMinimum" not in told(found)
    assert condition(found, Condition.SERVERS_READY)["reason"] == "AllReady"


def test_workers_on_their_way_while_the_servers_start_are_not_said_to_wait_for_them_to_be_made() -> None:
    found = condition(let_go().with_servers(ready=0).plan(), Condition.WORKERS_READY)
    assert (found["reason"], found["message"]) == (
        "BelowMinimum",
        "0 workers are ready; workers.minReplicas is 1. Pods are being started.",
    )


def test_workers_that_a_queue_holds_after_a_job_grew_are_named() -> None:
    held = (pod(Role.WORKER, index, ready=False, gated=True, node="", phase="Pending") for index in (4, 5))
    grown = training().workers(6).with_workers(ready=4).with_pods(*held).written()
    asked = grown.seeing(queue_says={"u-workers": Held(SHORT)})
    assert queueing.puzzling(grown.observed()) == [("u-workers", "x-worker")]
    found = condition(asked.plan(), Condition.DEGRADED)
    assert found["reason"] == "FewerThanDesired"
    assert found["message"].endswith(f"Queue gpu has not let x-worker-4 and 1 more start yet: {SHORT}.")
    assert condition(asked.plan(), Condition.WORKERS_READY)["status"] == "True"


def test_an_evaluator_that_its_queue_holds_is_told_of() -> None:
    held = training().with_evaluator(suspended=True)
    assert queueing.puzzling(held.observed()) == [("u-eval", "x-evaluator")]
    found = condition(held.seeing(queue_says={"u-eval": Held(SHORT)}).plan(), Condition.DEGRADED)
    assert found["reason"] == "EvaluationFailing"
    assert found["message"] == f"Queue gpu has not let the evaluator start yet: {SHORT}."


# Its clocks.
def test_time_in_a_queue_counts_against_no_deadline() -> None:
    """A job that waited for a day must not end by its startup deadline in the second in which it is let go."""
    scene = queued().having(runPolicy={"activeDeadlineSeconds": 600}).with_supports()
    late = scene.with_workers(ready=0, suspended=True).written().after(86_400)
    assert condition(late.plan(), Condition.FAILED)["status"] == "False"
    started = late.with_workers(ready=0).written()
    assert condition(started.after(599).plan(), Condition.FAILED)["status"] == "False"
    assert condition(started.after(600).plan(), Condition.FAILED)["reason"] == "DeadlineExceeded"


def test_a_job_that_does_not_start_after_its_turn_fails_by_the_startup_deadline_from_then_on() -> None:
    started = waiting().after(5000).with_workers(ready=0).written().with_servers(ready=0).written()
    assert condition(started.after(1799).plan(), Condition.FAILED)["status"] == "False"
    assert condition(started.after(1800).plan(), Condition.FAILED)["reason"] == "StartupDeadlineExceeded"


def test_a_job_whose_workers_were_taken_back_is_neither_stalled_nor_stuck() -> None:
    later = taken_back().after(5000)
    found = later.plan()
    assert condition(found, Condition.DEGRADED)["reason"] == "AsExpected"
    assert later.actions() == (), "shard 0 is not restarted for a stall"
    assert found.status is not None
    assert "startTime" not in found.status


def test_servers_lost_while_the_workers_are_away_are_shown_and_cost_nothing() -> None:
    back = taken_back()
    assert back.seen.servers is not None
    lost = back.seeing(servers=replace(back.seen.servers, ready=1)).plan()
    assert condition(lost, Condition.SERVERS_READY)["reason"] == "Restoring"
    assert condition(lost, Condition.FAILED)["status"] == "False"


def test_a_job_that_reaches_its_target_as_the_queue_takes_its_workers_back_ends_well() -> None:
    ended = training().with_workers(ready=0, suspended=True).with_evaluator(complete=True)
    found = ended.with_report(updates=9, stop_reason="epochs").plan()
    assert condition(found, Condition.COMPLETE)["status"] == "True"
