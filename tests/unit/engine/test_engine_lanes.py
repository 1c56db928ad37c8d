"""Two lanes of the work queue in virtual time: what is new or has changed, and routine; neither waits for the other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from asgd_operator import handlers
from asgd_operator.engine.agenda import Agenda, Lane
from asgd_operator.engine.queue import Pace, WorkQueue
from tests.unit.engine.virtual import run

PACE = Pace(debounce=0.1, resync=10_000)


def play(
    script: Callable[[WorkQueue], None], seconds: float, takes: Callable[[str], float], pace: Pace = PACE
) -> list[tuple[float, str]]:
    """Runs a queue for `seconds` after `script`; a look at a key takes `takes(key)`. When each was begun."""
    begun: list[tuple[float, str]] = []

    async def work(key: str) -> float | None:
        begun.append((round(asyncio.get_running_loop().time(), 3), key))
        await asyncio.sleep(takes(key))
        return None

    async def main() -> None:
        queue = WorkQueue(work, lambda: (), pace)
        task = asyncio.create_task(queue.run())
        await asyncio.sleep(0)
        script(queue)
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    return begun


def thousand_in_routine(queue: WorkQueue) -> None:
    for i in range(1000):
        queue.add(f"old-{i}", lane=Lane.ROUTINE)


def test_a_new_job_does_not_wait_for_a_thousand_that_are_looked_at_as_routine() -> None:
    def script(queue: WorkQueue) -> None:
        thousand_in_routine(queue)
        asyncio.get_running_loop().call_later(20, queue.add, "new")

    begun = play(script, 60, lambda key: 0.05)
    assert [at for at, key in begun if key == "new"] == [20.1]
    assert 600 < len(begun) < 700, "and they are looked at at their own pace meanwhile"


def test_a_new_job_does_not_wait_for_looks_of_routine_that_hang() -> None:
    def script(queue: WorkQueue) -> None:
        thousand_in_routine(queue)
        asyncio.get_running_loop().call_later(20, queue.add, "new")

    begun = play(script, 60, lambda key: 300.0 if key.startswith("old") else 0.05)
    assert [at for at, key in begun if key == "new"] == [20.1]


def test_a_flood_of_events_does_not_starve_routine() -> None:
    def script(queue: WorkQueue) -> None:
        loop = asyncio.get_running_loop()
        for i in range(6000):
            loop.call_later(i / 100, queue.add, f"busy-{i % 500}")
        for i in range(40):
            queue.add(f"old-{i}", lane=Lane.ROUTINE)

    begun = play(script, 60, lambda key: 1.0)
    assert len([key for _, key in begun if key.startswith("old")]) == 40


def test_forty_jobs_that_are_applied_at_once_are_begun_in_the_order_in_which_they_came() -> None:
    names = [f"new-{i}" for i in range(40)]

    def script(queue: WorkQueue) -> None:
        thousand_in_routine(queue)
        for i, name in enumerate(names):
            asyncio.get_running_loop().call_later(i / 1000, queue.add, name)
            # Its children tell of themselves as soon as they are there.
            asyncio.get_running_loop().call_later(1 + i / 1000, queue.add, name)

    begun = [key for _, key in play(script, 60, lambda key: 0.5)]
    assert [key for key in begun if key.startswith("new")][:40] == names, "nobody twice before all are once"


def test_a_job_that_changes_while_it_waits_for_routine_is_news_and_looked_at_once() -> None:
    def script(queue: WorkQueue) -> None:
        thousand_in_routine(queue)
        queue.add("x", lane=Lane.ROUTINE)
        asyncio.get_running_loop().call_later(5, queue.add, "x")

    begun = play(script, 300, lambda key: 0.05)
    assert [at for at, key in begun if key == "x"] == [5.1]


def test_news_of_a_job_whose_routine_is_late_does_not_pass_the_news_of_others() -> None:
    agenda = Agenda()
    agenda.plan("late", 0, Lane.ROUTINE)
    agenda.plan("new", 10, Lane.NEWS)
    agenda.plan("late", 11, Lane.NEWS)
    assert [agenda.take(Lane.NEWS, 20, set()) for _ in range(3)] == ["new", "late", None]
    assert agenda.take(Lane.ROUTINE, 20, set()) is None


def test_each_lane_is_bounded_by_tokens_of_its_own() -> None:
    def script(queue: WorkQueue) -> None:
        for i in range(5):
            queue.add(f"old-{i}", lane=Lane.ROUTINE)
            queue.add(f"new-{i}")

    begun = play(script, 60, lambda key: 0.0, Pace(debounce=0, resync=10_000, per_second=2, burst=3))
    for lane in ("old", "new"):
        assert [at for at, key in begun if key.startswith(lane)] == [0, 0, 0, 0.5, 1.0]


def test_what_a_start_lists_is_routine_but_for_jobs_that_nobody_has_looked_at() -> None:
    known = {"metadata": {"generation": 2}, "status": {"observedGeneration": 2}}
    assert handlers.lane_of(None) is Lane.ROUTINE
    assert handlers.lane_of_job(None, known) is Lane.ROUTINE
    for event in ("ADDED", "MODIFIED", "DELETED"):
        assert handlers.lane_of(event) is handlers.lane_of_job(event, known) is Lane.NEWS
    new, edited = {"metadata": {"generation": 1}}, {**known, "metadata": {"generation": 3}}
    assert handlers.lane_of_job(None, new) is handlers.lane_of_job(None, edited) is Lane.NEWS


def test_a_queue_that_is_told_to_be_slow_goes_on_all_the_same() -> None:
    pace = Pace(debounce=0, resync=10_000, per_second=0.1, burst=0.5)
    begun = play(lambda queue: [queue.add(f"k{i}") for i in range(3)] and None, 60, lambda key: 0.0, pace)
    assert [at for at, _ in begun] == [0, 10, 20]
