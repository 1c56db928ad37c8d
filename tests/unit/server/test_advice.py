"""The number of workers that helps, from figures: each reason, and when nothing is said."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from asgd.algorithms.registry import names, strategy
from asgd.server.advice import Measured, Pace, advise
from asgd.server.advising import Advising
from asgd.server.facts import JobFacts
from asgd.server.members import Member
from asgd.server.progress import Debt
from asgd.spec.autoscaling import own_hardware
from asgd.spec.durations import Spread
from asgd.spec.status import Advice, WorkerTimes
from asgd.spec.types import Devices, JobSpec, Workers
from asgd.wire.reports import ShardReport


def seen(own: Sequence[float], busy: Sequence[float], cycle: float | None = None, **given: Any) -> Measured:
    """Workers whose own work takes so long, and half a tenth of a second more from push to push, or `cycle`."""
    paces = [Pace(index, each, cycle or each + 0.05) for index, each in enumerate(own)]
    usual: dict[str, Any] = {"kind": "free", "most": 64}
    return Measured(paces, busy, **(usual | given))


def test_fewer_workers_are_as_fast_where_a_server_is_busy_all_the_time() -> None:
    # Eight exchanges in 1.6 s keep the shard busy for 1.536 s: 0.192 s each.
    found = advise(seen([0.8] * 8, [0.2, 0.96], cycle=1.6))
    assert found == Advice(
        5,
        "5 workers learn as fast as 8: shard 1 is busy for 96 % of the time; add a shard, or push less often",
        measured=8,
    )


def test_more_workers_are_advised_up_to_the_capacity_of_the_servers_and_twice_those_that_were_measured() -> (
    None
):
    assert advise(seen([0.95] * 8, [0.8])).workers == 10
    found = advise(seen([0.95] * 4, [0.1]))
    assert found.workers == 8
    assert found.text == (
        "8 workers would train on 2.0 times as many samples a second as 4:"
        " the busiest server serves for 10 % of the time, and each further worker helps"
    )
    assert advise(seen([0.95] * 4, [0.1], most=6)).workers == 6


def test_workers_that_share_a_machine_are_never_advised_more() -> None:
    found = advise(seen([0.95] * 4, [0.1], grows=False))
    assert (found.workers, "only trying shows" in found.text) == (4, True)


def test_one_worker_more_or_less_is_no_reason_to_change_anything() -> None:
    assert advise(seen([1.0] * 5, [0.95], cycle=1.0)).workers == 5


def test_a_bound_on_staleness_leaves_so_many_workers_worth_of_pushes() -> None:
    found = advise(seen([0.95] * 8, [0.1], bound=4, staleness=3.8))
    assert found == Advice(
        5, "5 workers learn as fast as 8: pushes of 8 workers are 7 updates old, and 4 is the bound;"
        " allow more (exchange.staleness.max)", measured=8,
    )  # fmt: skip
    fetching_each_fourth = advise(seen([0.95] * 6, [0.1], bound=8, staleness=20.0))
    assert fetching_each_fourth.workers == 3


@pytest.mark.parametrize("kind", ["rounds", "bounded"])
def test_who_is_slow_and_waited_for_is_named_and_left_out_where_scaling_down_does_so(kind: str) -> None:
    found = advise(seen([1.0] * 7 + [4.0], [0.1], cycle=4.05, kind=kind))
    assert found.workers == 7
    assert found.text.startswith(
        ("7 workers would train on 2.6", "7 workers would train on 3.4")
    ) and found.text.endswith(
        "all wait for worker 7, which takes 4.0 times as long as the median; give it what the others have"
    )
    first = advise(seen([4.0] + [1.0] * 7, [0.1], cycle=4.05, kind=kind))
    assert first.workers > 8 and "all wait for worker 0" in first.text


def test_nobody_waits_for_a_slow_asynchronous_worker() -> None:
    found = advise(seen([1.0] * 7 + [4.0], [0.1]))
    assert found.workers > 8 and "wait" not in found.text


def test_what_an_exchange_took_before_the_servers_were_full_is_remembered() -> None:
    assert advise(seen([0.5] * 20, [1.0], cycle=2.0, calm=0.6)).workers == 11
    assert advise(seen([0.5] * 20, [1.0], cycle=2.0)).workers == 6


def test_a_line_that_is_full_shows_once_another_number_of_workers_was_tried() -> None:
    # Sixteen workers with 16 exchanges a second, where eight had 15.5: nothing that is measured is full.
    found = advise(seen([0.5] * 16, [0.3], cycle=1.0, tried={8: 15.5}))
    assert found.workers == 8 and "8 and 16 workers were about as fast as each other" in found.text
    # NB: back at eight workers it knows what sixteen have brought.
    assert advise(seen([0.5] * 8, [0.28], cycle=8 / 15.5, tried={16: 16.0})).workers == 8
    assert advise(seen([0.5] * 8, [0.28], cycle=8 / 15.5)).workers == 16


def test_a_slow_worker_among_the_additional_ones_is_no_line_that_is_full() -> None:
    # Of eight workers the last takes four times as long; the first four alone made all their 3.8 rounds' exchanges.
    found = advise(seen([1.0] * 7 + [4.0], [0.1], cycle=4.05, kind="rounds", tried={2: 1.9, 4: 3.8}))
    assert found.workers == 7


def test_a_slow_worker_that_was_tried_is_not_asked_for_again() -> None:
    assert advise(seen([1.0] * 7, [0.1], kind="rounds", tried={8: 2.0})).workers == 7
    assert advise(seen([1.0] * 7, [0.1], kind="rounds")).workers == 14


def told(name: str = "asgd", *, minutes: int = 4, exchanges: float = 1.0, leaves: int = 0) -> list[Any]:
    """What four workers with `exchanges` a second on one shard are advised, each ten seconds."""
    the_spec = JobSpec(entrypoint="a:b", algorithm={"name": name})
    rule = strategy(name).server(the_spec)
    advising = Advising(the_spec, strategy(name).counts, rounds=rule.rounds, waits=rule.pulls_wait)
    found = []
    for ten in range(6 * minutes):
        now = 10.0 * ten
        made = int(now * exchanges)
        times = WorkerTimes(Spread({50: made}, 0.9 * now), Spread({40: made}, 0.1 * now))
        members = {
            index: Member(
                index, 1, 0.0, now, Debt(0.0), f"node-{index}", times=times, phases_at=now, number=index
            )
            for index in range(4 if not leaves or ten < leaves else 3)
        }
        facts = JobFacts("job", [ShardReport(busy_microseconds=int(4e5 * now))], [1])
        advising.look(members, facts, now)
        found.append(advising.told and advising.told.workers)
    return found


def test_nothing_is_said_before_there_is_enough_evidence_and_after_somebody_has_left() -> None:
    found = told()
    assert found[:5] == [None] * 5 and found[5:] == [8] * len(found[5:])
    assert told(exchanges=0.05) == [None] * 24
    after = told(leaves=12)
    assert after[11] == 8 and after[12:15] == [None] * 3 and after[-1] == 6


COUNTED = {
    "asgd": 8, "async-diloco": 8, "dc-asgd": 8, "diloco": 8, "downpour": 8, "eamsgd": 8, "easgd": 8, "local-sgd": 8,
    "ssp": 8, "streaming-diloco": 8, "sync": 8, "fasgd": 4, "staleness-aware": 4,
}  # fmt: skip
"""For all others their number is a part of the method."""


@pytest.mark.parametrize("name", names())
def test_each_strategy_is_advised_rightly_or_not_at_all(name: str) -> None:
    assert told(name, minutes=2)[-1] == COUNTED.get(name)


def test_cores_or_devices_of_their_own_make_workers_of_one_node_independent() -> None:
    def of(workers: Workers) -> JobSpec:
        return JobSpec(entrypoint="a:b", workers=workers)

    assert not own_hardware(of(Workers()))
    assert own_hardware(of(Workers(devices=Devices(count=1))))
    assert own_hardware(of(Workers(resources={"requests": {"cpu": "2"}})))
    assert not own_hardware(of(Workers(resources={"requests": {"memory": "1Gi"}})))
