"""A worker's own part of a step is what is left of it beside its exchange."""

from __future__ import annotations

import pytest

from asgd.worker import meters
from asgd.worker.meters import Meters
from asgd.worker.sending.headers import Outcome


class Watch:
    """A clock that only goes when it is told to."""

    now = 0.0

    def perf_counter(self) -> float:
        return self.now


@pytest.fixture
def watch(monkeypatch: pytest.MonkeyPatch) -> Watch:
    clock = Watch()
    monkeypatch.setattr(meters.time, "perf_counter", clock.perf_counter)
    return clock


def test_each_shard_s_lane_is_a_metric_of_its_own() -> None:
    counted = Meters()
    counted.ways = lambda: ["shm", "tcp"]
    counted.exchanged(Outcome("", ("applied", "applied"), 8, 1, {}, versions=(3, 4)))
    (family,) = (each for each in counted.collect() if each.name == "asgd_worker_lane")
    seen = [(sample.labels["shard"], sample.labels["lane"], sample.value) for sample in family.samples]
    assert seen == [("0", "shm", 1), ("1", "tcp", 1)]


@pytest.mark.parametrize(("overlapped", "stage"), [(False, "exchange"), (True, "wait")])
def test_time_spent_waiting_for_an_exchange_is_no_part_of_the_step(
    watch: Watch, overlapped: bool, stage: str
) -> None:
    counted = Meters(overlapped)
    watch.now = 100.0  # starting up is no step
    for _ in range(4):
        counted.step(32, None)
        with counted.timed(stage):
            watch.now += 5.0
        watch.now += 0.25
    told = counted.own.told()
    assert told.total == 3 and told.mean == pytest.approx(0.25)


def test_an_overlapped_exchange_is_measured_but_not_taken_off_the_step(watch: Watch) -> None:
    counted = Meters(overlapped=True)
    for _ in range(3):
        counted.step(32, None)
        with counted.timed("exchange"):
            watch.now += 0.5
    assert counted.own.told().mean == pytest.approx(0.5) and counted.exchanges.told().total == 3
    times = counted.report().times
    assert (times.own, times.exchange) == (counted.own.told(), counted.exchanges.told())
