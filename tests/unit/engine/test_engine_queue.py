"""The work queue in virtual time: one key once, failures alone, everybody bounded, nobody forgotten."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise

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
