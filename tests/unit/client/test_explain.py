"""`explain`: each cause has its verdict, a sentence that names the object, and a fix that names the field."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest

from asgd.client.explain import Explanation, Kind, explain
from asgd.client.explain.degraded import REASONS as EXPLAINED
from asgd.client.explain.printed import document, lines
from asgd_operator.constants import REASONS, TROUBLES, Condition
from tests.unit.client.causes_hampered import ALL_WELL, HAMPERED
from tests.unit.client.causes_made import MADE
from tests.unit.client.causes_real import REAL
from tests.unit.client.seen import Row, condition, degraded, ended, facts, report, running, workers

ROWS = [
    *REAL.items(),
    *((f"{row.kind}-{number}", row) for number, row in enumerate((*MADE, *HAMPERED, ALL_WELL))),
]


def told(row: Row) -> Explanation:
    return explain(row.facts, row.now)


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[name for name, _ in ROWS])
def test_each_cause_is_told_with_the_object_and_its_fix_with_the_field(row: Row) -> None:
    found = told(row)
    assert (found.verdict, found.kind, found.field) == (row.verdict, row.kind, row.field), found
    assert [word for word in row.says if word not in found.sentence] == [], found.sentence
    assert [word for word in row.fix if word not in found.fix] == [], found.fix


@pytest.mark.parametrize("row", [row for _, row in ROWS], ids=[name for name, _ in ROWS])
def test_an_answer_is_one_bounded_sentence_about_the_job_with_a_command_to_copy(row: Row) -> None:
    found = told(row)
    assert found.sentence.startswith(f"{row.facts.name} ") and found.sentence.endswith(".")
    assert "\n" not in found.sentence + found.fix + found.command
    assert len(found.sentence) < 600 and len(found.fix) < 300
    assert found.command.startswith("kubectl ") or found.command.startswith("helm ")
    assert found.fix.endswith(".") or (found.verdict == "fine" and not found.fix)
    assert ". " not in found.fix


def test_every_cause_of_the_list_has_a_case() -> None:
    assert {row.kind for _, row in ROWS} == {*Kind}


def test_every_reason_of_degraded_that_the_operator_has_is_explained() -> None:
    assert REASONS[Condition.DEGRADED] - {"AsExpected"} == EXPLAINED


@pytest.mark.parametrize("reason", sorted(TROUBLES | {"NotJoined"}))
def test_every_trouble_of_pods_is_explained_whatever_its_words(reason: str) -> None:
    found = told(Row(workers(reason, "digits-worker-0-abcde does something unheard of."), "", ""))
    assert found.kind is not Kind.STARTING and "unheard of" in found.sentence


@pytest.mark.parametrize("reason", sorted(REASONS[Condition.FAILED] - {"NotFailed"}))
def test_every_reason_of_failed_is_explained_whatever_its_words(reason: str) -> None:
    found = told(Row(ended(reason, "The moon is full."), "", ""))
    assert (
        found.verdict == "failed" and found.kind is not Kind.UNKNOWN and "he moon is full" in found.sentence
    )


def test_the_words_of_others_are_bounded_and_stand_in_one_line() -> None:
    row = REAL["hangs"]
    long = replace(row.facts, logs=dict.fromkeys(row.facts.logs, "first\n" + "waiting " * 1000))
    found = told(replace(row, facts=long))
    assert len(found.sentence) < 700 and "..." in found.sentence and "first" not in found.sentence


def test_what_else_is_wrong_stands_beside_the_first_cause() -> None:
    slow = REAL["slow-worker"].facts
    both = running(condition("Degraded", "EvaluationFailing", "It raised."), report=slow.report)
    found = told(Row(both, "", ""))
    assert found.kind is Kind.EVALUATION_FAILING
    assert found.also == ("A step of worker 1 takes 447 ms, 8 times as long as the other workers' (56 ms).",)
    assert lines(found)[-1] == f"Also: {found.also[0]}"


def test_a_control_plane_that_refuses_work_is_not_the_cause_where_another_is() -> None:
    said = (
        "No node takes digits-worker-0-a: 0/3 nodes are available: 1 Insufficient memory, 2 node(s) had untolerated "
        "taint {node-role.kubernetes.io/control-plane: }."
    )
    assert told(Row(workers("Unschedulable", said), "", "")).kind is Kind.MEMORY


def test_a_field_that_is_frozen_is_edited_while_the_job_is_suspended_and_a_live_one_at_once() -> None:
    frozen = told(REAL["bad-image"]).command
    assert [step.split()[1:4] for step in frozen.split(" && ")] == [
        ["asgd", "suspend", "bad-image"],
        ["-n", "explain-bad-image", "edit"],
        ["asgd", "resume", "bad-image"],
    ]
    assert told(REAL["spent"]).fix.endswith("and apply the job anew.")


def test_a_worker_that_ran_out_of_memory_gets_a_command_that_doubles_its_limit() -> None:
    command = told(REAL["oom"]).command
    assert '"limits":{"memory":"128Mi"}' in command and command.endswith("resume oom -n explain-oom")


def test_without_shard_0_a_job_that_trains_is_told_by_its_status() -> None:
    figures = {"updates": 900, "loss": 0.25, "samplesPerSecond": 1200.0, "progressPercent": 40}
    seen = {"training": figures | {"observedTime": "2026-11-30T11:59:48Z"}}
    found = told(Row(running(status=seen, spec={"stopAfter": {"epochs": 20}}), "", ""))
    assert found.sentence == (
        "digits is fine: it trains with 2 of 2 workers at 1,200 samples/s, loss 0.25 (12 s ago); "
        "40% done, until 20 epochs."
    )


def test_missing_workers_are_explained_by_what_their_pods_say() -> None:
    row = REAL["fewer"]
    assert told(row).fix.startswith("Raise the ResourceQuota two of namespace explain-fewer")
    silent = told(replace(row, facts=replace(row.facts, events=[], pods=[])))
    assert silent.kind is Kind.FEWER_WORKERS and "nothing is said against the others" in silent.sentence


def test_where_the_number_of_workers_is_set_by_autoscale_its_bound_is_the_field_to_change() -> None:
    row = REAL["fewer"]
    document = copy.deepcopy(dict(row.facts.job or {}))
    document["spec"]["workers"]["autoscale"] = {"min": 1, "max": 8}
    document["status"]["workers"] |= {"desired": 5, "autoscale": {"workers": 5, "start": 2}}
    scaled = replace(row, facts=replace(row.facts, job=document))
    found = told(scaled)
    assert "1 of 5 workers" in found.sentence and "or ask for less (workers.autoscale.max" in found.fix
    assert found.field == "workers.autoscale.max"


def test_a_job_that_autoscaling_would_make_larger_says_that_its_queue_has_no_room() -> None:
    document = copy.deepcopy(dict(REAL["fewer"].facts.job or {}))
    document["spec"] |= {"scheduling": {"queueName": "team"}}
    document["spec"]["workers"]["autoscale"] = {"min": 1, "max": 8}
    number = {"workers": 4, "start": 1, "granted": 1}
    document["status"]["workers"] |= {"ready": 1, "desired": 4, "autoscale": number}
    says = "Fewer workers are ready than workers.autoscale asks for. Queue team has not let x-worker-1 and 2 more start"
    (degraded,) = (item for item in document["status"]["conditions"] if item["type"] == "Degraded")
    degraded["message"] = f"{says} yet: insufficient quota."
    asking = replace(REAL["fewer"], facts=replace(REAL["fewer"].facts, job=document, pods=(), events=()))
    found = told(asking)
    assert (found.verdict, found.kind, found.field) == ("slow", "queue", "workers.autoscale.max")
    assert "1 of 4 workers train: queue team has not let x-worker-1 and 2 more start yet" in found.sentence
    degraded |= {"status": "False", "reason": "AsExpected"}
    number |= {"workers": 1, "reason": "queue team has no room for 4 workers"}
    assert "1 of 1 workers (queue team has no room for 4 workers)" in told(asking).sentence
    number["reason"] = "1 worker is best"
    assert "queue" not in told(asking).sentence


def test_a_job_that_ends_is_fine_though_its_workers_are_gone() -> None:
    gone = condition("WorkersReady", "BelowMinimum", "0 workers are ready.", False)
    saves = condition("Running", "Completing", "The stop rule is met; the last state is saved.", False)
    assert told(Row(facts(gone, saves), "", "")).verdict == "fine"


@pytest.mark.parametrize(
    ("stopped", "says"),
    [
        ("epochs evaluating", "its stop rule is met after 1,000 updates; the final weights are evaluated"),
        ("metric saving", "its stop rule is met after 1,000 updates; the last state is saved"),
        ("stopped stopping", "somebody has stopped it after 1,000 updates; its workers hand in their work"),
        ("seconds finished", "stopAfter.seconds is over after 1,000 updates; all is saved, and its pods end"),
    ],
)
@pytest.mark.parametrize("seen", ["TrainingProgressing", "Completing"])
def test_a_job_that_ends_is_told_no_speed_also_where_shard_0_alone_knows_of_it(
    seen: str, stopped: str, says: str
) -> None:
    reason, phase = stopped.split()
    says_so = condition("Running", seen, "The stop rule is met; workers end.", seen != "Completing")
    found = told(Row(running(says_so, report=report(stopReason=reason, phase=phase)), "", ""))
    assert (found.verdict, found.kind) == ("fine", Kind.ENDING)
    assert found.sentence == f"digits is fine: {says}."


@pytest.mark.parametrize(
    ("reason", "kind"), [("diverged", Kind.DIVERGED), ("unevaluated", Kind.EVALUATION_FAILED)]
)
def test_a_job_that_shard_0_has_given_up_is_not_said_to_train(reason: str, kind: Kind) -> None:
    given_up = report(stopReason=reason, phase="stopping", stopDetail="worker 1 pushed NaN 20 times")
    found = told(Row(running(report=given_up), "", ""))
    assert (found.verdict, found.kind) == ("failed", kind) and "worker 1 pushed NaN" in found.sentence


def test_servers_that_a_suspension_ends_leave_the_job_as_it_is() -> None:
    assert told(Row(running(report=report(stopReason="interrupted")), "", "")).kind is Kind.TRAINS


def test_a_job_that_trains_on_though_its_claim_is_gone_is_degraded() -> None:
    gone = condition(
        "Accepted",
        "StorageNotFound",
        "spec.checkpoint.volume.pvc: there is no PersistentVolumeClaim a in ml.",
        False,
    )
    found = told(Row(running(gone), "", ""))
    assert found.verdict == "degraded" and found.kind is Kind.NO_CLAIM


def test_as_json_it_has_the_field_with_its_path() -> None:
    found = document(told(REAL["no-memory"]))
    assert found["field"] == "spec.workers.resources.requests.memory"
    assert found["verdict"] == "not running" and found["cause"] == "memory"


def test_a_reason_of_a_newer_operator_gives_its_own_sentence() -> None:
    found = told(Row(degraded("Moonlight", "The moon is full."), "", ""))
    assert found.sentence == "digits trains, and something is wrong: the moon is full (Moonlight)."
