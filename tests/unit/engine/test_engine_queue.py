"""The work queue in virtual time: one key once, failures alone, everybody bounded, nobody forgotten."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from asgd_operator.engine.queue import Pace, WorkQueue
from asgd_operator.errors import OperatorError, TooManyRequests, Transient
from tests.unit.engine.virtual import run

QUIET = Pace(debounce=0.1, resync=10_000, per_second=1000, burst=1000)


def play(
    script: Callable[[WorkQueue], None],
    seconds: float,
    pace: Pace = QUIET,
    takes: float = 0.0,
    answers: list[float | OperatorError | None] | None = None,
    known: tuple[str, ...] = (),
) -> list[tuple[float, str]]:
    """Runs a queue for `seconds` after `script`; answers when each key was begun."""
    begun: list[tuple[float, str]] = []
    left = list(answers or [])

    async def work(key: str) -> float | None:
        begun.append((round(asyncio.get_running_loop().time(), 3), key))
        await asyncio.sleep(takes)
        answer = left.pop(0) if left else None
        if isinstance(answer, OperatorError):
            raise answer
        return answer

    async def main() -> None:
        queue = WorkQueue(work, lambda: known, pace, chance=lambda: 0.5)
        task = asyncio.create_task(queue.run())
        await asyncio.sleep(0)
        script(queue)
        await asyncio.sleep(seconds)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    run(main())
    return begun


def test_a_flock_of_events_is_one_piece_of_work() -> None:
    assert play(lambda q: [q.add("a") for _ in range(100)] and None, 10) == [(0.1, "a")]


def test_the_depth_counts_what_is_due_and_not_what_is_planned_for_later() -> None:
    depths: list[int] = []

    def script(queue: WorkQueue) -> None:
        for number in range(20):
            queue.add(f"due-{number}")
            queue.add(f"routine-{number}", after=60.0)
        for moment in (0.05, 0.15, 50.0, 60.5):
            asyncio.get_running_loop().call_later(moment, lambda: depths.append(queue.depth))

    play(script, 70, takes=1.0)
    assert depths == [0, 20, 0, 20]


def test_a_key_is_never_worked_on_twice_at_a_time_and_once_more_after_a_change() -> None:
    def script(queue: WorkQueue) -> None:
        queue.add("a")
        asyncio.get_running_loop().call_later(1, queue.add, "a")
        asyncio.get_running_loop().call_later(2, queue.add, "a")

    assert play(script, 20, takes=5) == [(0.1, "a"), (5.1, "a")]


def test_keys_do_not_wait_for_a_slow_one() -> None:
    def script(queue: WorkQueue) -> None:
        queue.add("slow")
        queue.add("quick")

    assert sorted(play(script, 4, takes=3)) == [(0.1, "quick"), (0.1, "slow")]


def test_failures_of_a_key_back_off_exponentially_and_a_success_forgets_them() -> None:
    answers: list[float | OperatorError | None] = [Transient("down")] * 3 + [100.0, Transient("down"), None]
    begun = play(lambda q: q.add("a"), 200, answers=answers)
    assert [at for at, _ in begun] == [0.1, 0.6, 1.6, 3.6, 103.6, 104.1]


def test_backoff_has_an_upper_bound() -> None:
    pace = Pace(debounce=0, first_backoff=1, longest_backoff=8, resync=10_000)
    begun = [at for at, _ in play(lambda q: q.add("a"), 40, pace, answers=[Transient("down")] * 9)]
    assert [b - a for a, b in pairwise(begun)] == [1, 2, 4, 8, 8, 8, 8]


def test_what_the_server_asks_for_is_waited_for() -> None:
    begun = play(lambda q: q.add("a"), 100, answers=[TooManyRequests("slow down", retry_after=30)])
    assert [at for at, _ in begun] == [0.1, 30.1]


def test_an_event_overtakes_a_planned_look() -> None:
    def script(queue: WorkQueue) -> None:
        queue.add("a", after=60)
        asyncio.get_running_loop().call_later(5, queue.add, "a")

    assert play(script, 100) == [(5.1, "a")]


def test_a_mass_start_is_bounded_by_the_token_bucket() -> None:
    pace = Pace(debounce=0, per_second=2, burst=3, resync=10_000, workers=10)
    begun = [at for at, _ in play(lambda q: [q.add(f"k{i}") for i in range(7)] and None, 60, pace)]
    assert begun == [0, 0, 0, 0.5, 1.0, 1.5, 2.0]


def test_the_resync_comes_back_to_every_known_key() -> None:
    pace = Pace(debounce=0.1, resync=600)
    begun = play(lambda q: None, 2000, pace, known=("a", "b"))
    assert begun == [(630.0, "a"), (630.0, "b"), (1230.0, "a"), (1230.0, "b"), (1830.0, "a"), (1830.0, "b")]


def test_a_forgotten_key_is_not_worked_on() -> None:
    def script(queue: WorkQueue) -> None:
        queue.add("a")
        queue.forget("a")

    assert play(script, 10) == []


# What the work on one key may do to the others.
class Bug(Exception):
    """No error of the operator's own."""


async def cancel_from_within() -> None:
    """A cancellation that nobody asked of the queue, as a closing client may let out."""
    lost = asyncio.get_running_loop().create_future()
    lost.cancel()
    await lost


async def never() -> None:
    await asyncio.get_running_loop().create_future()


def raising(error: BaseException) -> Callable[[], Awaitable[None]]:
    async def fail() -> None:
        raise error

    return fail


POISONS: dict[str, Callable[[], Awaitable[None]]] = {
    "a bug": raising(KeyError("name")),
    "no memory": raising(MemoryError()),
    "a timeout of its own": raising(TimeoutError()),
    "a group": raising(ExceptionGroup("two", [ValueError("a"), OSError("b")])),
    "a stray cancellation": cancel_from_within,
    "no end": never,
}


@dataclass
class Seen:
    """What came of a queue with a poisoned job beside a healthy one."""

    done: list[tuple[float, str]] = field(default_factory=list)
    results: list[tuple[str, Exception | None]] = field(default_factory=list)
    told: list[tuple[str, int]] = field(default_factory=list)


def beside_a_poisoned_job(poison: Callable[[], Awaitable[None]], pace: Pace, workers: int = 2) -> Seen:
    """Ten looks at the healthy job, one every 100 s."""
    seen = Seen()

    async def work(key: str) -> float | None:
        if key == "poisoned":
            await poison()
        seen.done.append((round(asyncio.get_running_loop().time(), 1), key))
        return 100.0

    async def failed(key: str, error: Exception, count: int) -> None:
        seen.told.append((key, count))
        raise Bug("the user could not be told either")

    async def main() -> None:
        queue = WorkQueue(
            work,
            lambda: ("healthy", "poisoned"),
            replace(pace, workers=workers),
            on_result=lambda key, seconds, error: seen.results.append((key, error)),
            on_failure=failed,
        )
        task = asyncio.create_task(queue.run())
        await asyncio.sleep(0)
        queue.add("poisoned")
        queue.add("healthy")
        await asyncio.sleep(990)
        assert not task.done(), "the queue lives on"
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert task.cancelled()

    run(main())
    return seen


@pytest.mark.parametrize("kind", POISONS)
def test_a_poisoned_job_fails_alone_and_the_healthy_one_beside_it_is_looked_at_as_ever(kind: str) -> None:
    seen = beside_a_poisoned_job(POISONS[kind], QUIET)
    assert [at for at, key in seen.done if key == "healthy"] == [0.1 + 100 * i for i in range(10)]
    poisoned = [error for key, error in seen.results if key == "poisoned"]
    assert len(poisoned) > 1 and all(poisoned), "it is tried again, and each failure is counted"
    assert [count for _, count in seen.told] == list(range(1, len(poisoned) + 1))


@pytest.mark.parametrize("kind", POISONS)
def test_one_worker_outlives_them_all(kind: str) -> None:
    pace = replace(QUIET, longest_work=20.0)
    seen = beside_a_poisoned_job(POISONS[kind], pace, workers=1)
    assert [key for _, key in seen.done].count("healthy") >= 9


def test_a_poisoned_job_backs_off_like_one_that_the_api_server_refuses() -> None:
    times: list[float] = []

    async def poison() -> None:
        times.append(round(asyncio.get_running_loop().time(), 1))
        raise Bug

    beside_a_poisoned_job(poison, Pace(debounce=0, first_backoff=1, longest_backoff=8, resync=10_000))
    assert [b - a for a, b in pairwise(times[:8])] == [1, 2, 4, 8, 8, 8, 8]


def test_a_surprise_is_logged_with_its_traceback_once_for_each_job_and_kind(
    caplog: pytest.LogCaptureFixture,
) -> None:
    kinds = [KeyError("a"), KeyError("b"), ValueError("c")] * 3

    async def poison() -> None:
        if kinds:
            raise kinds.pop(0)

    with caplog.at_level(logging.ERROR):
        beside_a_poisoned_job(poison, QUIET)
    lines = [record for record in caplog.records if "reconcile failed" in record.message]
    traced = [type(record.exc_info[1]) for record in lines if record.exc_info]
    assert len(lines) == 9 and all(record.job == "poisoned" for record in lines)
    assert traced == [KeyError, ValueError]
    assert "KeyError: 'a' (test_engine_queue.py:" in lines[0].message


def test_work_that_never_ends_is_cut_off_and_tried_again_as_a_failure_that_may_pass() -> None:
    seen = beside_a_poisoned_job(never, replace(QUIET, longest_work=50.0))
    errors = [error for key, error in seen.results if key == "poisoned"]
    assert str(errors[0]) == "a look took longer than 50 s" and isinstance(errors[0], Transient)


# Its end.
def ended(script: Callable[[WorkQueue], None], takes: float = 0.0) -> float:
    """Cancels a queue 5 s after `script`; how long it took to end."""

    async def work(key: str) -> float | None:
        await asyncio.sleep(takes)
        return 5.0 - takes

    async def main() -> float:
        queue = WorkQueue(work, lambda: (), replace(QUIET, debounce=0))
        task = asyncio.create_task(queue.run())
        await asyncio.sleep(0)
        script(queue)
        await asyncio.sleep(5)
        task.cancel()
        queue.add("at the same moment")
        begun = asyncio.get_running_loop().time()
        await asyncio.wait([task], timeout=1000)
        assert task.cancelled()
        return asyncio.get_running_loop().time() - begun

    return run(main())


def test_a_cancellation_ends_a_queue_that_waits() -> None:
    assert ended(lambda queue: None) == 0
    assert ended(lambda queue: queue.add("later", 60)) == 0


def test_a_cancellation_ends_a_queue_at_work() -> None:
    assert ended(lambda queue: [queue.add(f"k{i}") for i in range(9)] and None, takes=4.5) == 0


def test_a_cancellation_that_comes_together_with_an_event_ends_a_queue_too() -> None:
    def script(queue: WorkQueue) -> None:
        asyncio.get_running_loop().call_later(5, queue.add, "now")

    assert ended(script) == 0
