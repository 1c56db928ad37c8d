"""The pure model of the page: what it is told and what it shows."""

from __future__ import annotations

import math

import msgspec
import pytest

from asgd.page.columns import MOST, Columns
from asgd.page.events import moments
from asgd.page.feed import FORGET_SECONDS, Feed
from asgd.page.heat import COLUMNS_MOST, Heat, letter, value
from asgd.page.lanes import COARSE_MOST, Lanes
from asgd.page.model import About, Model
from asgd.page.record import resume
from asgd.page.waits import Waits, held_open
from asgd.spec.phases import COMPUTE, DATA, LEVELS, MIXES, PUSH, UNKNOWN, WAIT, plausible, shares, together
from asgd.spec.phases import letter as phase_letter
from asgd.spec.status import PhasesView, WorkerView
from tests.unit.page.jobs import Pretended


def test_a_letter_tells_the_shares_of_four_phases_in_sixths() -> None:
    assert (
        MIXES[phase_letter((0.25, 0.0, 0.125, 0.125))] == (3, 0, 2, 1)
        or sum(MIXES[phase_letter((3, 0, 2, 1))]) == LEVELS
    )
    assert MIXES[phase_letter((3, 1, 2, 0))] == (3, 1, 2, 0)
    assert phase_letter((0.0, 0.0, 0.0, 0.0)) == UNKNOWN
    assert all(sum(mix) == LEVELS for mix in MIXES.values())
    assert not set(MIXES) & set("\"\\<>&' ")


def test_several_letters_become_one_that_is_their_mean_and_unknown_where_most_is_unknown() -> None:
    only = [
        phase_letter([float(phase == each) for each in range(4)]) for phase in (COMPUTE, DATA, PUSH, WAIT)
    ]
    assert MIXES[together(only[0] * 2 + only[3] * 2)] == (3, 0, 0, 3)
    assert together(UNKNOWN * 3 + only[0]) == UNKNOWN
    assert shares(only[0] + only[2]) == [0.5, 0.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("number", "ago", "letters", "good"),
    [(4, 0.1, "!!!!", True), (3, 0.1, "!!!!", False), (4, math.nan, "!!!!", False), (4, -1.0, "!!!!", False),
     (400, 0.1, "!" * 17, False), (4, 0.1, "!!<!", False)],
)  # fmt: skip
def test_phases_that_no_worker_can_have_gone_through_are_refused(
    number: int, ago: float, letters: str, good: bool
) -> None:
    assert plausible(number, ago, letters) is good


def test_lanes_put_letters_that_come_late_and_twice_into_their_own_slots_once() -> None:
    lanes = Lanes()
    said = "".join(phase_letter([float(slot % 4 == phase) for phase in range(4)]) for slot in range(40))
    for number in range(4, 40, 4):  # each heartbeat tells the newest 8, so all but the first come twice
        lanes.tell(0, 1, PhasesView(number, 0.3, said[max(0, number - 8) : number]), number / 4 + 0.3)
    slot, letters = lanes.settle(11.0)
    assert (slot, letters[0][:32]) == (0, said[:32])


def test_lanes_show_a_gap_where_nothing_was_told_and_place_another_life_anew() -> None:
    lanes = Lanes()
    lanes.tell(0, 1, PhasesView(4, 0.0, "!!!!"), 1.0)
    lanes.tell(0, 2, PhasesView(4, 0.0, "####"), 6.0)
    _, letters = lanes.settle(9.0)
    assert letters[0] == "!!!!" + UNKNOWN * 16 + "####"


def test_lanes_of_a_long_run_stay_bounded_and_keep_its_beginning() -> None:
    lanes, seconds = Lanes(), 3000
    for second in range(1, seconds):
        lanes.tell(0, 1, PhasesView(4 * second, 0.0, "!!!!"), float(second))
        lanes.settle(float(second))
    start, coarse = lanes.told()["rows"]["0"][2]
    assert len(coarse) <= COARSE_MOST
    assert start == 0
    assert set(coarse) == {"!"}


def test_heat_is_the_mean_staleness_between_two_statuses_and_widens_its_columns() -> None:
    heat = Heat()
    assert heat.tell(0, 10, 30, 1.0) == 3.0
    assert heat.tell(0, 20, 90, 2.0) == 6.0
    assert heat.tell(0, 5, 5, 3.0) == 1.0  # a shard 0 that was started again counts anew
    for second in range(4, 4 * COLUMNS_MOST):
        heat.tell(0, 5 + second, 5 + second, float(second))
    told = heat.told()
    assert told["columns"] <= COLUMNS_MOST
    assert len(told["rows"]["0"]) == told["columns"]
    assert value(letter(7.0)) == pytest.approx(7.0, rel=0.1)


def test_columns_thin_out_and_keep_the_first_and_the_newest_row() -> None:
    columns = Columns()
    for second in range(5 * MOST):
        columns.add({"t": float(second), "loss": 1.0} | ({"scalar.kl": 2.0} if second > MOST else {}))
    told = columns.told()
    assert len(told["t"]) <= MOST
    assert (told["t"][0], told["t"][-1]) == (0.0, 5.0 * MOST - 1)
    assert {len(column) for column in told.values()} == {len(told["t"])}
    assert told["scalar.kl"][0] is None


def test_a_page_that_was_away_gets_what_it_missed_and_one_of_another_start_gets_nothing() -> None:
    feed = Feed("a")
    feed.look(0.0)
    events = [feed.add({"t": t}, float(t), looks=True) for t in range(5)]
    assert feed.since("a-3") == events[3:]
    assert feed.since("a-5") == []
    assert feed.since("b-3") is None
    assert feed.since("a-9") is None
    assert events[0] == b'id: a-1\nevent: delta\ndata: {"t":0}\n\n'


def test_nothing_is_encoded_while_nobody_looks() -> None:
    feed = Feed("a")
    assert feed.add({"t": 0}, 0.0, looks=False) == b""
    feed.look(1.0)
    assert feed.add({"t": 1}, 1.0, looks=False)
    assert feed.add({"t": 9}, 2.0 + FORGET_SECONDS, looks=False) == b""
    assert feed.since("a-1") is None


def test_deaths_returns_rejections_and_terms_are_moments_with_a_sentence() -> None:
    job = Pretended(seconds=60, happenings={1: (20.0, "dies"), 5: (10.0, "wanders")}, away=15.0)
    told = [(moment["kind"], moment["text"]) for moment in job.model().moments]
    assert ("lost", "worker 1 was lost: its heartbeats stopped or its process died") in told
    assert ("joined", "worker 1 joined again on node-2") in told
    assert ("rejected", "worker 5 is not listened to for a time") in told
    assert ("readmitted", "worker 5 is listened to again") in told
    assert ("term", "shard 1 came back, term 2") in told
    assert ("lostupdates", "12 updates lost with a server") in told
    times = [moment["t"] for moment in job.model().moments]
    assert times == sorted(times)


def test_a_live_edit_of_the_stop_rule_is_a_moment() -> None:
    status = Pretended().status(10.0)
    rule = msgspec.structs.replace(status.stop_after, epochs=90)
    edited = msgspec.structs.replace(status, stop_after=rule)
    assert [moment["kind"] for moment in moments(status, edited, 10.0, 11.0)] == ["edit"]


def test_who_neither_waits_nor_lacks_data_and_has_done_least_is_waited_for() -> None:
    def worker(index: int, waits: str = "", idle: float = 0.0) -> WorkerView:
        return WorkerView(index, "running", 0.0, waits=waits, idle_seconds=idle)

    assert held_open(
        [worker(0, "others"), worker(1, idle=3.0), worker(2, idle=1.0), worker(3, "others")]
    ) == {1: [0, 3]}
    assert held_open([worker(0, "data"), worker(1)]) == {}
    assert held_open([worker(0, "others")]) == {}


def test_rounds_shorter_than_a_second_are_told_by_what_was_seen_in_several_looks() -> None:
    def workers(*parked: int) -> list[WorkerView]:
        return [
            WorkerView(i, "running", 0.0, waits="others" if i in parked else "", idle_seconds=float(i == 2))
            for i in range(4)
        ]

    waits = Waits()
    assert waits.lately() == {}
    for parked in ((0, 1, 3), (), (0, 1), (0, 3)):
        waits.tell(workers(*parked))
    waits.tell(workers())
    assert waits.lately() == {2: [0, 1, 3]}, "though nobody waits at this moment"
    for _ in range(20):
        waits.tell(workers())
    assert waits.lately() == {}
    waits.tell(workers(0))
    assert waits.lately() == {}, "once is no habit"
    for _ in range(9):
        waits.tell(workers(0))
    waits.tell([msgspec.structs.replace(worker, state="left", ended=1.0) for worker in workers(0)])
    assert waits.lately() == {}, "all have left"


def test_a_snapshot_is_json_without_nan_and_small_after_hours() -> None:
    job = Pretended(4, seconds=30)
    model = Model(job.about)
    for t, status in job.statuses():
        model.tell(msgspec.structs.replace(status, loss=math.nan), t)
    text = msgspec.json.encode(model.snapshot())
    assert b"NaN" not in text
    assert len(text) < 60_000


def test_a_resumed_run_goes_on_where_its_page_ended() -> None:
    first = Pretended(4, seconds=30).model(over=True)
    second = Model(About("digits"))
    t = resume(second, msgspec.json.decode(msgspec.json.encode(first.snapshot())))
    assert t == 31.0
    job = Pretended(4, seconds=5)
    for at, status in job.statuses():
        second.tell(status, t + at)
    told = second.snapshot()
    assert told["columns"]["t"][0] == 0.0
    assert told["columns"]["t"][-1] == 36.0
    assert told["lanes"]["rows"]["0"][2][0] == 0
