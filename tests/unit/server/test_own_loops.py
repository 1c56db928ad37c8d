"""What shard 0 does for scripts with loops of their own: data told late, epochs, and batches that were left out."""

from __future__ import annotations

from typing import Any

import pytest
from msgspec.structs import replace

from asgd.server.coordinator import Coordinator
from asgd.server.pool import Pool
from asgd.wire.limits import FIGURES_MOST
from asgd.wire.messages import Bye, Done, Evaluated, Fault, Granted, Lease, Welcome
from tests.checks.harness import job_spec
from tests.unit.server.members import SAMPLES, STARTED, Members, hello, is_fault


def ask(members: Members, request: int, **wanted: Any) -> Any:
    return members.say(0, Lease(0, STARTED, request, **wanted))


def test_a_script_joins_before_it_tells_its_data_and_tells_it_by_another_hello() -> None:
    members = Members(stopAfter={"epochs": 2})
    assert isinstance(members.say("new", hello(2, dataset=None, own_loop=True)), Welcome)
    assert isinstance(members.say("new", hello(2, own_loop=True)), Welcome)
    assert is_fault(members.say("new", hello(2, dataset=SAMPLES - 1, own_loop=True)), "layout")


def test_a_script_without_data_yet_changes_nothing_of_what_is_promised() -> None:
    chief = Coordinator(job_spec())
    chief.describe_data(8, "every sample", b"")
    chief.describe_data(None, "no promise", b"")
    assert chief.guarantee == "every sample"
    assert chief.dataset == 8


def test_ranges_are_multiples_of_the_batch_that_is_asked_for_and_of_one_epoch() -> None:
    members = Members(stopAfter={"epochs": 2})
    granted, request = [], 1
    while (answer := ask(members, request, batch=4, until=0)).stop:
        granted.append((answer.epoch, answer.stop - answer.start))
        request += 1
    assert {epoch for epoch, _ in granted} == {0}
    assert sum(count for _, count in granted) == SAMPLES
    assert all(count % 4 == 0 for _, count in granted)
    assert (answer.passed, answer.wait, answer.over) == (True, False, False)
    assert ask(members, request + 1, batch=4).epoch == 1


def test_of_the_last_epoch_a_worker_waits_for_what_others_hold() -> None:
    members = Members(stopAfter={"epochs": 1})
    other = members.lease(1, 1)
    request = 1
    while (answer := ask(members, request, until=0)).stop:
        request += 1
    assert (answer.passed, answer.wait) == (False, True)
    members.core.primary.coordinator.bye(1, STARTED, True, 101.0)  # type: ignore[union-attr]
    again = ask(members, request + 1, until=0)
    assert (again.epoch, again.start, again.stop) == other


def test_what_a_loop_left_out_counts_as_visited_once_however_often_it_is_told() -> None:
    members = Members(stopAfter={"epochs": 2})
    first = members.lease(0, 1)
    pool = members.core.primary.coordinator.pool  # type: ignore[union-attr]
    assert isinstance(pool, Pool)
    for _ in range(2):
        assert isinstance(ask(members, 2, skipped=[first]), Granted)
        assert (pool.visited, pool.revisited) == (first[2] - first[1], 0)


@pytest.mark.parametrize("skipped", [(0, 8, 8), (0, 0, SAMPLES + 1), (1, 0, 8)])
def test_ranges_that_nobody_was_granted_cannot_have_been_left_out(skipped: tuple[int, int, int]) -> None:
    members = Members()
    members.lease(0, 1)
    answer = ask(members, 2, skipped=[skipped])
    assert isinstance(answer, Fault)
    assert answer.code == "refused:visits"


def test_the_job_ends_when_the_last_of_its_samples_is_left_out() -> None:
    members = Members(stopAfter={"epochs": 1})
    request, held = 1, []
    while (answer := ask(members, request)).stop:
        held.append((answer.epoch, answer.start, answer.stop))
        request += 1
    assert ask(members, request + 1, skipped=held).over
    assert members.core.stop == "epochs"


def test_a_loop_that_does_other_things_between_its_steps_is_given_more_time_than_a_reader() -> None:
    chief = Coordinator(job_spec())
    for index, own_loop in enumerate((False, True)):
        chief.hello(index, 1, "", 0.0, own_loop=own_loop)
        chief.members[index].debt.pace.pushed(0.1)
    chief.describe_data(64, "", b"")
    reader, loop = (chief.deadline(chief.members[index]) for index in range(2))
    assert (reader, loop) == (60.0, 600.0)


def test_a_hello_that_comes_again_after_the_goodbye_of_its_process_brings_nobody_back() -> None:
    members = Members(stopAfter={"updates": 100})
    assert isinstance(members.say(0, hello(0)), Welcome), "it comes twice while it is there"
    members.say(0, Bye("worker", 0, STARTED))
    assert is_fault(members.say("late", hello(0)), "session")
    chief = members.core.primary.coordinator  # type: ignore[union-attr]
    assert (chief.finished_loops, sorted(chief.members), sorted(members.core.shard.members)) == (
        {0},
        [1],
        [1],
    )
    again = replace(hello(0), incarnation=STARTED + 1)
    assert isinstance(members.say("next", again), Welcome)
    assert chief.finished_loops == set()


def test_what_a_script_reports_of_the_same_weights_in_several_calls_adds_up() -> None:
    members = Members(stopAfter={"metric": {"name": "f1", "atLeast": 0.9}})
    assert members.core.primary is not None
    chief = members.core.primary.coordinator

    def report(version: int, **metrics: float) -> dict[str, float]:
        told = Evaluated(version, 8, metrics, False, "worker", 0, STARTED)
        assert isinstance(members.say(0, told), Done)
        return chief.metrics

    report(10, accuracy=0.5)
    notices = [notice.text for notice in chief.notices.newest]
    assert notices == [
        "spec.stopAfter.metric.name: f1 is nothing that the script reports; it reports accuracy"
    ]
    assert report(10, f1=0.3) == {"accuracy": 0.5, "f1": 0.3}
    assert report(10, f1=0.4) == {"accuracy": 0.5, "f1": 0.4}
    assert report(11, f1=0.5) == {"f1": 0.5}, "of other weights"
    many = [f"{number}" for number in range(FIGURES_MOST)]
    assert report(11, **dict.fromkeys(many, 0.0)).keys() == {*many}, "no more than a status holds"
