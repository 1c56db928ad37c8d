"""A status that the API server refuses: what is written in its place, who is told, and when it is tried again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import Any

import pytest

from asgd_operator.constants import Condition
from asgd_operator.engine.writer import Writer
from asgd_operator.errors import Forbidden, Invalid
from asgd_operator.kube import Kube
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.plan.actions import Plan
from asgd_operator.plan.model import Observed
from asgd_operator.plan.status import TRAINING_SECONDS
from tests.unit.engine.api import Api, Body, serving
from tests.unit.plan.builders import START, make_job

Mind = Callable[[Body], tuple[int, str, list[str]] | None]


def condition(kind: str, status: str, reason: str, message: str = "") -> Body:
    said = {"type": kind, "status": status, "reason": reason, "message": message}
    return said | {"lastTransitionTime": "2026-11-01T12:00:00Z", "observedGeneration": 1}


def whole(**training: Any) -> Body:
    """The status of a job that has failed, with all that may be in it."""
    return {
        "observedGeneration": 1,
        "phase": "Failed",
        "term": 2,
        "training": {"updates": 3, "metrics": {"val.accuracy": 0.5}} | training,
        "checkpoint": {"lastUpdates": 2},
        "workers": {"ready": 0},
        "parameterServer": {"ready": 0, "members": [{"index": 0, "uid": "u"}]},
        "conditions": [
            condition("Degraded", "False", "AsExpected"),
            condition("Failed", "True", "FatalExitCode", "Worker 3 ended with exit code 1."),
        ],
    }


@dataclass
class Desk:
    """Writes statuses to an API server that minds something."""

    mind: Mind
    api: Api = field(default_factory=Api)
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    o: Observed = field(
        default_factory=lambda: Observed(
            name="x", namespace="n", uid="u-x", generation=1, spec=None, now=START
        )
    )

    def write(self, *statuses: Body, seconds: float = 0.0) -> None:
        """One after the other, each pass seeing what the former one has written."""

        async def main() -> None:
            async with serving(self.api) as client:
                writer = Writer(Kube(client), self.metrics)
                for status in statuses:
                    self.api.mind = self.mind
                    await writer.say(self.o, Plan(status=status))
                    now = self.o.now + timedelta(seconds=seconds)
                    self.o = replace(self.o, status=self.written, now=now)

        asyncio.run(main())

    @property
    def written(self) -> Body:
        return dict(self.api.status("x").get("status", {}))

    @property
    def tries(self) -> int:
        return len(self.api.writes_to("asgdjobs/x/status"))

    def counted(self, part: str) -> float:
        found = self.metrics.registry.get_sample_value
        return found("asgd_operator_status_refused_total", {"part": part}) or 0.0


def mind(part: str, *fields: str, code: int = 422) -> Mind:
    """Refuses a status that holds `part` ("training.metrics"), naming `fields`."""

    def judge(status: Body) -> tuple[int, str, list[str]] | None:
        found: Any = status
        for key in part.split("."):
            found = found.get(key, {}) if isinstance(found, dict) else {}
        return (code, f"{part} is not to our taste", list(fields)) if found else None

    return judge


def test_a_refused_figure_is_left_out_and_the_verdict_is_written_and_somebody_is_told() -> None:
    desk = Desk(mind("training.metrics", "status.training.metrics.val.accuracy", "<nil>"))
    desk.write(whole())
    kept = desk.written
    assert kept["phase"] == "Failed"
    assert kept["training"] == {"updates": 3}
    assert desk.api.condition("x", "Failed")["message"] == "Worker 3 ended with exit code 1."
    degraded = desk.api.condition("x", "Degraded")
    assert (degraded["status"], degraded["reason"]) == ("True", "StatusRefused")
    assert degraded["message"] == (
        "status.training.metrics cannot be written and is left out of the status; "
        "the API server says: training.metrics is not to our taste."
    )
    assert {key: kept[key] for key in ("checkpoint", "workers", "term")} == {
        key: whole()[key] for key in ("checkpoint", "workers", "term")
    }
    assert desk.api.events("x") == ["StatusRefused"]
    assert desk.counted("training") == 1
    assert desk.tries == 2


def test_what_is_left_of_a_field_that_is_not_there_any_more_takes_its_block_along() -> None:
    desk = Desk(mind("training", "status.training.metrics"))
    status = whole()
    del status["training"]["metrics"]
    desk.write(status)
    assert "training" not in desk.written
    assert desk.tries == 2


@pytest.mark.parametrize("part", ["training", "checkpoint", "term", "workers", "parameterServer.members"])
def test_where_no_field_is_named_one_block_after_the_other_is_left_out(part: str) -> None:
    desk = Desk(mind(part, code=400))
    desk.write(whole())
    assert desk.api.condition("x", "Failed")["status"] == "True"
    assert desk.written["phase"] == "Failed"
    assert desk.api.events("x") == ["StatusRefused"]


def test_a_part_that_an_older_crd_does_not_know_is_left_out() -> None:
    says = "failed to create typed patch object (n/x): .status.training.new: field not declared in schema"
    desk = Desk(lambda status: (500, says, []) if "new" in status.get("training", {}) else None)
    desk.write(whole(new=1))
    assert desk.written["training"] == {"updates": 3, "metrics": {"val.accuracy": 0.5}}


def test_a_sentence_that_is_refused_is_left_out_and_its_condition_stays() -> None:
    def judge(status: Body) -> tuple[int, str, list[str]] | None:
        (failed,) = (item for item in status["conditions"] if item["type"] == "Failed")
        return (422, "too long", ["status.conditions[1].message"]) if failed["message"] else None

    desk = Desk(judge)
    desk.write(whole())
    failed = desk.api.condition("x", "Failed")
    assert (failed["status"], failed["reason"], failed["message"]) == ("True", "FatalExitCode", "")
    assert desk.written["training"] == whole()["training"]


def test_what_was_refused_is_not_tried_again_before_it_has_changed() -> None:
    desk = Desk(mind("training.metrics", "status.training.metrics"))
    desk.write(whole(), whole(), whole(), seconds=10)
    assert desk.tries == 2
    desk.write(whole(updates=4), seconds=10)
    assert desk.written["training"] == {"updates": 4}
    assert desk.api.events("x") == ["StatusRefused"]


def test_the_job_goes_on_saying_so_while_its_figures_are_not_asked_for_anew() -> None:
    """The next pass keeps the figures that stand in the status, which lacks the refused one."""
    desk = Desk(mind("training.metrics", "status.training.metrics"))
    kept = whole()
    del kept["training"]["metrics"]
    desk.write(whole(), kept, kept, whole(), kept, seconds=20)
    assert desk.api.condition("x", "Degraded")["reason"] == "StatusRefused"
    assert desk.tries == 2, "nobody has written that all is well"
    desk.write(kept, kept, seconds=400)
    assert desk.api.condition("x", "Degraded")["reason"] == "AsExpected", "it has none any more"


def test_what_was_refused_is_written_when_the_api_server_takes_it() -> None:
    desk = Desk(mind("training.metrics", "status.training.metrics"))

    async def main() -> None:
        async with serving(desk.api) as client:
            writer = Writer(Kube(client), desk.metrics)
            desk.api.mind = desk.mind
            await writer.say(desk.o, Plan(status=whole()))
            desk.api.mind = lambda status: None
            for seconds in (10, 400):
                later = replace(desk.o, status=desk.written, now=START + timedelta(seconds=seconds))
                await writer.say(later, Plan(status=whole()))

    asyncio.run(main())
    assert desk.written == whole()
    assert desk.tries == 3


@pytest.mark.parametrize(("code", "error"), [(422, Invalid), (403, Forbidden)])
def test_a_status_of_which_nothing_can_be_written_is_told_and_counted_and_tried_again(
    code: int, error: type[Exception]
) -> None:
    desk = Desk(lambda status: (code, "a rule of this cluster", []))
    with pytest.raises(error, match="a rule of this cluster"):
        desk.write(whole())
    assert desk.api.events("x") == ["StatusRefused"]
    assert desk.counted("all") == 1


def test_the_condition_that_tells_of_it_keeps_its_time() -> None:
    desk = Desk(mind("training.metrics", "status.training.metrics"))
    desk.write(whole(), whole(updates=4), whole(updates=5), seconds=60)
    found = desk.api.condition("x", Condition.DEGRADED)
    assert found["lastTransitionTime"] == "2026-11-01T12:00:00Z"


def test_a_running_job_whose_metrics_are_refused_is_written_as_often_as_any_other() -> None:
    """The plan's own statuses over ten minutes, a pass each ten seconds: two requests for each new set of figures."""
    api, metrics, degraded = Api(), OperatorMetrics(), []

    async def main() -> None:
        scene = make_job().running().seeing(namespace="n")
        async with serving(api) as client:
            writer = Writer(Kube(client), metrics)
            api.mind = mind("training.metrics", "status.training.metrics")
            for number in range(60):
                scene = scene.after(10).with_report(updates=number, metrics={"loss": 0.5 + number})
                await writer.say(scene.observed(), scene.plan())
                written = writer.written("u-job")
                assert written is not None
                scene = scene.seeing(status=written[1])
                degraded.append(api.condition("x", "Degraded")["reason"])

    asyncio.run(main())
    assert set(degraded) == {"StatusRefused"}
    assert len(api.writes_to("asgdjobs/x/status")) <= 2 * 600 / TRAINING_SECONDS + 2
    assert api.events("x").count("StatusRefused") == 1
    assert api.status("x")["status"]["training"]["updates"] >= 57
