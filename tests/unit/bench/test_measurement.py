"""A measurement goes round by round in a rotating order; who fails is out with the reason, and everyone is ended."""

from __future__ import annotations

from dataclasses import dataclass, field

from asgd_bench.command import run_case
from asgd_bench.measurement import Measurement, stay_started
from asgd_bench.page import case_text
from asgd_bench.plan import Budget, Plan
from asgd_bench.results import Sample, Table
from asgd_bench.system import Failed


@dataclass
class Fake:
    """Writes down what is done with it; fails at its measurement number `bad`."""

    name: str
    log: list[str]
    bad: int = -1
    memory_bytes: int = 100
    measured: int = 0
    running: bool = field(default=False)
    frozen: bool = field(default=False)

    def start(self) -> None:
        self.log.append(f"start {self.name}")
        self.running = True

    def freeze(self) -> None:
        self.frozen = True

    def thaw(self) -> None:
        self.frozen = False

    def measure(self, seconds: float) -> Sample:
        assert self.running and not self.frozen
        self.log.append(self.name)
        self.measured += 1
        if self.measured - 1 == self.bad:
            raise Failed("broke")
        return Sample(float(self.measured))

    def stop(self) -> None:
        self.running = False


def measure(*systems: Fake, rounds: int = 3, stay: bool = True) -> list[list[float | None]]:
    lines = Measurement(systems, 0.0, stay=stay, progress=lambda text: None).run(range(rounds))
    assert not any(system.running for system in systems)
    return [[sample and sample.value for sample in line.samples] for line in lines]


def test_everyone_is_measured_once_a_round_and_the_order_rotates() -> None:
    log: list[str] = []
    assert measure(Fake("a", log), Fake("b", log)) == [[1, 2, 3], [1, 2, 3]]
    assert log == ["start a", "start b", "a", "b", "b", "a", "a", "b"]


def test_nobody_runs_while_another_is_measured() -> None:
    log: list[str] = []
    others: list[Fake] = []

    class Alone(Fake):
        def measure(self, seconds: float) -> Sample:
            assert all(other.frozen for other in others if other is not self)
            return super().measure(seconds)

    others += [Alone("a", log), Alone("b", log, bad=1), Alone("c", log)]
    assert measure(*others) == [[1, 2, 3], [1, None, None], [1, 2, 3]]


def test_who_fails_keeps_its_earlier_rounds_and_does_not_stop_the_others() -> None:
    log: list[str] = []
    assert measure(Fake("a", log, bad=1), Fake("b", log)) == [[1, None, None], [1, 2, 3]]


def test_without_memory_for_all_each_is_started_for_its_turn_alone() -> None:
    log: list[str] = []
    measure(Fake("a", log), Fake("b", log), rounds=1, stay=False)
    assert log == ["start a", "a", "start b", "b"]


def test_they_stay_started_only_when_all_fit_into_a_share_of_memory() -> None:
    two = [Fake("a", []), Fake("b", [])]
    assert stay_started(two, 300)
    assert not stay_started(two, 240)


def test_a_case_that_breaks_is_a_line_on_the_page_and_not_the_end_of_it() -> None:
    class Broken:
        NAME, ABOUT, SLOW = "broken", "divides by nothing", False

        def run(self, plan: Plan) -> list[Table]:
            raise ZeroDivisionError("by nothing")

    done = run_case(Broken(), Plan(1, True, lambda text: None))
    assert done.failure == "broke: ZeroDivisionError: by nothing"
    assert "left out: broke" in case_text(done)


def plan(budget: Budget) -> Plan:
    return Plan(5, quick=False, progress=lambda text: None, budget=budget)


def test_no_round_begins_when_the_time_is_up_but_each_measurement_has_one() -> None:
    spent, plenty = Budget(-1.0), Budget(3600.0)
    assert list(plan(spent).turns()) == [0]
    assert spent.cut
    assert list(plan(plenty).turns(2)) == list(range(10))
    assert not plenty.cut
