"""Status: what is said, when it is written, and when it is not."""

import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from asgd.spec.status import Advice, BestView, CheckpointView, StalenessView
from asgd_operator.constants import REASONS, Condition
from asgd_operator.plan.conditions import Judgement
from tests.unit.plan.builders import condition, make_job, told

ROOT = Path(__file__).parents[3]


def test_every_condition_stands_from_the_first_pass() -> None:
    found = make_job().plan()
    assert found.status is not None
    assert [item["type"] for item in found.status["conditions"]] == [*Condition, "Reconciling"]
    assert {item["observedGeneration"] for item in found.status["conditions"]} == {1}


def test_a_reason_that_is_not_on_the_list_cannot_be_written() -> None:
    with pytest.raises(ValueError, match="no reason of condition Running"):
        Judgement(Condition.RUNNING, True, "Whatever")
    assert all(REASONS[kind] for kind in Condition)


def test_a_transition_time_moves_only_with_its_status() -> None:
    starting = make_job().with_supports().with_servers(ready=0).written()
    later = starting.after(50).with_servers(ready=1).edited().plan()
    found = condition(later, Condition.SERVERS_READY)
    assert found["lastTransitionTime"] == "2026-11-01T12:00:00Z"
    assert found["message"].startswith("1 of 2")
    assert found["observedGeneration"] == 2
    ready = condition(starting.after(50).with_servers(ready=2).plan(), Condition.SERVERS_READY)
    assert ready["lastTransitionTime"] == "2026-11-01T12:00:50Z"


def test_training_figures_come_from_shard_0() -> None:
    staleness = StalenessView(p50=3, p99=11)
    found = (
        make_job()
        .running()
        .with_report(
            updates=412,
            samples=5273,
            loss=0.41234567,
            samples_per_second=9120.55,
            staleness=staleness,
            progress=0.419,
        )
    )
    assert found.plan().status is not None
    training = found.written().seen.status["training"]
    assert training["updates"] == 412
    assert training["loss"] == 0.41235
    assert (training["stalenessP50"], training["stalenessP99"]) == (3, 11)
    assert training["progressPercent"] == 41


def test_how_many_workers_help_stands_beside_the_figures_while_it_is_known() -> None:
    said = Advice(6, "6 workers learn as fast as 8: shard 0 is busy for 96 % of the time; add a shard")
    scene = make_job().running().with_report(updates=412, advice=said).written()
    training = scene.seen.status["training"]
    assert (training["advice"], training["advisedWorkers"]) == (said.text, 6)
    later = scene.after(60).with_report(updates=500, advice=None).written().seen.status["training"]
    assert not {"advice", "advisedWorkers"} & set(later)


def test_figures_are_written_at_most_every_half_minute() -> None:
    scene = make_job().running().with_report(updates=1).written()
    soon = scene.after(29).with_report(updates=100)
    assert soon.plan().status == scene.seen.status
    assert soon.after(1).written().seen.status["training"]["updates"] == 100


def test_the_last_figures_of_a_job_that_is_put_away_are_written_at_once() -> None:
    scene = make_job().running().with_report(updates=1).written()
    leaving = scene.suspended().after(5).with_report(updates=100).written()
    assert leaving.seen.status["training"]["updates"] == 100


def test_a_loss_that_is_not_finite_is_left_out() -> None:
    status = make_job().running().with_report(updates=1, loss=float("nan")).written().seen.status
    assert "loss" not in status["training"]
    json.dumps(status, allow_nan=False)


def test_figures_stay_when_shard_0_is_silent() -> None:
    scene = make_job().running().with_report(updates=1).written().seeing(report=None).after(40)
    assert scene.written().seen.status["training"]["updates"] == 1


def test_a_checkpoint_is_told_once_and_not_on_every_pass() -> None:
    saved = CheckpointView(updates=40, uri="file:///c/40", seconds_ago=5, bytes=9)
    scene = make_job().running().with_report(updates=50, checkpoint=saved).written()
    assert scene.seen.status["checkpoint"]["lastTime"] == "2026-11-01T11:59:55Z"
    older = CheckpointView(updates=40, uri="file:///c/40", seconds_ago=46, bytes=9)
    again = scene.after(40).with_report(updates=50, checkpoint=older)
    assert again.plan().status == scene.seen.status


def test_a_checkpoint_that_is_far_too_old_degrades_the_job() -> None:
    saved = CheckpointView(updates=40, seconds_ago=400)
    found = make_job().running().with_report(updates=50, checkpoint=saved).plan()
    assert condition(found, Condition.CHECKPOINT_READY)["reason"] == "SaveFailed"
    assert condition(found, Condition.DEGRADED)["reason"] == "CheckpointFailing"
    assert "CheckpointFailed" in told(found)


def test_the_scale_selector_names_the_workers() -> None:
    status = make_job().written().seen.status
    assert status["selector"] == "asgd.dev/job-name=x,asgd.dev/role=worker"


def test_the_newest_term_is_shown() -> None:
    assert make_job().running().with_report(updates=1, terms=[3, 5]).written().seen.status["term"] == 5


def test_a_server_that_took_over_moves_the_term_on() -> None:
    scene = make_job().running().with_report(updates=1, terms=[1, 1]).written()
    later = scene.after(40).with_report(updates=2, terms=[1, 2]).written()
    assert later.seen.status["term"] == 2


def test_a_job_that_is_being_deleted_says_so_and_is_left_alone() -> None:
    scene = make_job().running()
    found = scene.seeing(deleting=True).plan()
    assert found.status == {**scene.seen.status, "phase": "Terminating"}
    assert (found.actions, found.events) == ((), ())


def empties(value: Any) -> list[str]:
    """Where there are empty maps and lists inside."""
    if not isinstance(value, dict):
        return []
    found = [name for name, item in value.items() if item in ({}, [])]
    return found + [f"{name}.{inner}" for name, item in value.items() for inner in empties(item)]


def test_the_best_evaluation_stands_in_the_status() -> None:
    best = BestView("accuracy", 0.91234567, 300, 2400, "s3://bucket/run/best/x.safetensors")
    told = make_job().running().with_report(updates=400, best=best).after(60)
    assert (told.plan().status or {})["training"]["best"] == {
        "metric": "accuracy", "value": 0.91235, "updates": 300, "uri": "s3://bucket/run/best/x.safetensors",
    }  # fmt: skip


def test_metrics_that_a_restarted_shard_0_no_longer_knows_leave_no_empty_map_behind() -> None:
    """Server-side apply makes null of one that was full before, and the API server refuses all of the status."""
    told = make_job().running().with_report(updates=3, metrics={"accuracy": 0.5}).after(60)
    assert (told.plan().status or {})["training"]["metrics"] == {"accuracy": 0.5}
    forgot = told.written().after(60).with_report(updates=4)
    status = forgot.plan().status or {}
    assert status["training"]["updates"] == 4
    assert empties(status) == []


FIGURES = {"gradientLength": 0.123456789, "shortFloor": 1.3, "shortScore": 0.4, "shortLimit": 2.6}


def test_what_the_strategy_tells_of_itself_stands_in_the_status() -> None:
    told = make_job().running().with_report(updates=3, strategy_figures=FIGURES, ever_rejected=[2]).written()
    training = told.seen.status["training"]
    assert training["strategyFigures"] == FIGURES | {"gradientLength": 0.12346}
    assert training["everRejected"] == [2] and "rejectedWorkers" not in training


def test_figures_and_names_of_workers_are_bounded_and_what_is_no_number_is_left_out() -> None:
    many = {f"figure{number:03}": float(number) for number in range(99)}
    odd = {"a": float("nan"), "b": float("inf"), "c" * 300: 1.0}
    numbers = list(range(5000))
    report = {
        "strategy_figures": odd | many, "metrics": odd | many, "refused": dict.fromkeys(many, 1),
        "suspects": numbers, "ever_rejected": numbers, "rejected_workers": numbers,
    }  # fmt: skip
    scene = make_job().running().with_report(updates=3, **report).written()
    training = scene.seen.status["training"]
    assert [len(training[name]) for name in ("strategyFigures", "metrics", "refused")] == [64] * 3
    assert "figure063" in training["metrics"] and "a" not in training["metrics"]
    assert [len(training[name]) for name in ("suspects", "everRejected", "rejectedWorkers")] == [
        256,
        256,
        4096,
    ]
    known = check_schema(training)
    assert scene.after(5).plan().status == scene.seen.status, "nothing is new: it is not written again"
    assert known == []


def check_schema(training: dict[str, Any]) -> list[str]:
    """What of the block the CRD does not know, or bounds more tightly."""
    crd = yaml.safe_load((ROOT / "crds/asgdjobs.asgd.dev.yaml").read_text())
    status = crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]["properties"]
    fields = status["training"]["properties"]
    unknown = [name for name in training if name not in fields]
    sizes = {name: len(value) for name, value in training.items() if isinstance(value, dict | list)}
    most = {name: fields[name].get("maxItems") or fields[name]["maxProperties"] for name in sizes}
    return unknown + [name for name, size in sizes.items() if size > most[name]]


@pytest.mark.parametrize("field", ["strategy_figures", "refused", "metrics", "suspects", "ever_rejected"])
def test_what_is_told_no_more_leaves_no_empty_map_or_list_behind(field: str) -> None:
    some: Any = [1] if field in ("suspects", "ever_rejected") else {"some": 1}
    scene = make_job().running().with_report(updates=3, **{field: some}).written()
    before = set(scene.seen.status["training"])
    later = scene.after(60).with_report(updates=4).written().seen.status["training"]
    assert len(before - set(later)) == 1 and all(value not in ({}, []) for value in later.values())
