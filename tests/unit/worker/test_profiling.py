"""Which steps are profiled, and what is left of a worker that ends early."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from asgd.drivers.local.profile import Profile
from asgd.drivers.output import Output
from asgd.errors import UserError
from asgd.worker.meters import Meters
from asgd.worker.profiling import StepProfiler, profile_as_told


def steps_of(path: Path) -> int:
    """Matrix products in a trace: one a step."""
    events: list[dict[str, Any]] = json.loads(path.read_text())["traceEvents"]
    return sum(event.get("name") == "aten::mm" for event in events)


def train(meters: Meters, steps: int) -> None:
    for _ in range(steps):
        with meters.timed("compute"):
            torch.ones(2, 2) @ torch.ones(2, 2)
        meters.step(8, 0.5)


@pytest.mark.parametrize(("first", "last", "made"), [(1, 2, 2), (3, 3, 1), (4, 9, 2)])
def test_a_profile_holds_the_steps_from_first_to_last_or_as_many_as_there_were(
    tmp_path: Path, first: int, last: int, made: int
) -> None:
    meters, ends = Meters(), list[Any]()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("atexit.register", ends.append)
        profile_as_told(meters, {"ASGD_PROFILE": f"{first}:{last}:{tmp_path / 'w:1' / 'worker-0'}"})
    train(meters, 5)
    ends[0]()
    assert steps_of(tmp_path / "w:1" / "worker-0.json") == made
    assert (tmp_path / "w:1" / "worker-0.txt").read_text().startswith(f"steps {first} to {min(last, 5)}\n")


def test_a_worker_that_never_came_to_the_first_step_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    meters = Meters()
    profiler = StepProfiler(20, 30, tmp_path / "worker-0", meters)
    meters.stepped = profiler.step
    train(meters, 2)
    profiler.close()
    assert "this worker ended after 2 steps, before step 20: there is no profile" in capsys.readouterr().out
    assert list(tmp_path.iterdir()) == []


def test_the_option_names_a_worker_and_its_steps() -> None:
    assert Profile.parse("worker=1", 2) == Profile(1, 10, 14)
    assert Profile.parse("worker=0,steps=20:30", 2) == Profile(0, 20, 30)


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("1", "allowed: worker=N or worker=N,steps=FIRST:LAST"),
        ("worker=1,steps=5", "allowed: worker=N or worker=N,steps=FIRST:LAST"),
        ("worker=2", "the job has 2 workers; allowed: worker=0 to worker=1"),
        ("worker=1,steps=9:3", "steps must be FIRST:LAST with 1 <= FIRST <= LAST"),
        ("worker=1,steps=0:3", "steps must be FIRST:LAST with 1 <= FIRST <= LAST"),
    ],
)
def test_an_option_that_makes_no_sense_is_refused_before_the_start(text: str, said: str) -> None:
    with pytest.raises(UserError) as refusal:
        Profile.parse(text, 2)
    assert str(refusal.value).startswith(f"--profile: {text}: ") and said in str(refusal.value)


def test_the_run_says_where_a_profile_is_or_why_there_is_none(tmp_path: Path) -> None:
    output, profile = Output(tmp_path, continued=False, made=False), Profile(1, 10, 14)
    assert "none: worker 1 came to no step 10" in profile.result(output)
    (tmp_path / "profile").mkdir()
    (tmp_path / "profile" / "worker-1.json").touch()
    assert "worker-1.json" in profile.result(output)
    assert list(profile.env(output)) == [("worker", 1)]
    assert "none" in profile.result(output), "that of an earlier run is no result of this one"
