"""Leases of data: whatever workers, refusals and restarts do, every sample counts exactly once an epoch."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from asgd.server.pool import Pool, PoolState, Span
from asgd.worker.reading.leased import cut
from tests.effort import examples

WORKERS = st.integers(0, 3)


def positions(span: Span) -> set[tuple[int, int]]:
    return {(span[0], at) for at in range(span[1], span[2])}


class Epochs(RuleBasedStateMachine):
    """Workers that lease, push batch by batch in order, get refused, die and come back, over a server that restarts."""

    @initialize(
        size=st.integers(1, 60),
        batch=st.integers(1, 9),
        epochs=st.one_of(st.integers(1, 3), st.sampled_from([0.4, 1.5])),
    )
    def begin(self, size: int, batch: int, epochs: float) -> None:
        self.size, self.batch, self.epochs = size, batch, epochs
        self.pool = Pool(size, batch, epochs)
        self.held: dict[int, list[Span]] = {worker: [] for worker in range(4)}
        self.counted: set[tuple[int, int]] = set()
        self.saved: tuple[bytes, set[tuple[int, int]]] | None = None

    @rule(worker=WORKERS)
    def lease(self, worker: int) -> None:
        span = self.pool.lease(worker, 4)
        if span is None:
            return
        assert 0 <= span[1] < span[2] <= self.size
        assert span[2] - span[1] <= 32 * self.batch
        assert not positions(span) & self.counted
        self.held[worker].append(span)

    def next_batch(self, worker: int) -> Span | None:
        if not self.held[worker]:
            return None
        epoch, start, stop = self.held[worker].pop(0)
        cut = min(stop, start + self.batch)
        if cut < stop:
            self.held[worker].insert(0, (epoch, cut, stop))
        return epoch, start, cut

    @rule(worker=WORKERS)
    def push(self, worker: int) -> None:
        span = self.next_batch(worker)
        if span is None:
            return
        before, again = self.pool.visited, self.pool.revisited
        self.pool.visit(worker, [span])
        count = span[2] - span[1]
        assert (self.pool.visited - before, self.pool.revisited - again) in ((count, 0), (0, count))
        if self.pool.visited > before:
            assert not positions(span) & self.counted
            self.counted |= positions(span)

    @rule(worker=WORKERS)
    def push_refused(self, worker: int) -> None:
        span = self.next_batch(worker)
        if span:
            self.pool.refuse(worker, [span])

    @rule(worker=WORKERS)
    def die(self, worker: int) -> None:
        self.pool.release(worker)
        self.held[worker] = []

    @rule()
    def save(self) -> None:
        self.saved = msgspec.json.encode(self.pool.state()), set(self.counted)

    @precondition(lambda self: self.saved is not None)
    @rule()
    def restore(self) -> None:
        """A server comes back from its checkpoint; workers still hold what they had leased and go on pushing it."""
        assert self.saved is not None
        text, counted = self.saved
        self.pool, self.counted = Pool(self.size, self.batch, self.epochs), set(counted)
        self.pool.load(msgspec.json.decode(text, type=PoolState))

    @invariant()
    def nothing_is_lost(self) -> None:
        if not hasattr(self, "pool"):
            return
        out = [*self.pool.returned, *(span for spans in self.pool.leased.values() for span in spans)]
        waiting = [at for span in out for at in positions(span)]
        assert len(waiting) == len(set(waiting))
        assert not set(waiting) & self.counted
        assert len(waiting) + len(self.counted) == self.pool.cursor
        assert self.pool.visited == len(self.counted)

    def teardown(self) -> None:
        """One last worker finishes the job alone."""
        if not hasattr(self, "pool"):
            return
        for worker in range(4):
            self.die(worker)
        while not self.pool.done:
            span = self.pool.lease(0, 1)
            assert span is not None
            self.held[0].append(span)
            while self.held[0]:
                self.push(0)
        limit = self.pool.limit
        assert limit is not None
        assert self.counted == {divmod(at, self.size) for at in range(limit)}
        assert self.pool.lease(0, 1) is None


TestEpochs = Epochs.TestCase
TestEpochs.settings = settings(max_examples=examples(150), stateful_step_count=40, deadline=None)


def test_a_lost_workers_rest_is_leased_again_first_and_only_what_it_did_not_push() -> None:
    pool = Pool(1000, 10, 1)
    first = pool.lease(0, 1)
    assert first == (0, 0, 250)
    pool.lease(1, 2)
    pool.visit(0, [(0, 0, 10), (0, 10, 20)])
    pool.release(0)
    assert pool.lease(1, 1) == (0, 20, 250)
    assert pool.visited == 20


def test_leases_get_smaller_with_more_workers_and_never_exceed_32_batches() -> None:
    assert [Pool(100_000, 10, 1).lease(0, workers) for workers in (1, 100, 100_000)] == [
        (0, 0, 320),
        (0, 0, 250),
        (0, 0, 10),
    ]


@pytest.mark.parametrize(
    ("epochs", "end"),
    [
        (0.5, [(0, 0, 5)]),
        (1.0, [(0, 0, 5), (0, 5, 10)]),
        (1.2, [(0, 0, 5), (0, 5, 10), (1, 0, 5)]),
        (0.6, [(0, 0, 5), (0, 5, 10)]),
    ],
)
def test_a_fraction_of_an_epoch_ends_inside_it_with_a_whole_batch(epochs: float, end: list[Span]) -> None:
    pool, got = Pool(10, 5, epochs), []
    while span := pool.lease(0, 1):
        got.append(span)
        pool.visit(0, [span])
    assert got == end
    assert pool.done


@pytest.mark.parametrize("epochs", [None, 2, 1.3, 0.7])
@pytest.mark.parametrize(("job", "loop"), [(8, 0), (8, 3), (3, 8), (10, 7)])
def test_leases_leave_no_shorter_batch_than_an_epoch_does_by_itself(
    epochs: float | None, job: int, loop: int
) -> None:
    size, batch = 101, loop or job
    for workers in (1, 2, 7):
        pool, seen = Pool(size, job, epochs), list[int]()
        while pool.cursor < 2 * size and (span := pool.lease(0, workers, loop)):
            seen += [stop - start for _, start, stop in cut(span, batch)]
        short = [count for count in seen if count != batch]
        assert short == [size % batch] * (pool.cursor // size)


def test_a_job_that_is_resumed_with_another_batch_gets_no_batch_of_one_sample() -> None:
    for before, now in ((10, 49), (48, 49), (7, 13), (50, 33)):
        for pushed in range(1, 100 // before + 1):
            first = Pool(100, before, 1)
            while first.cursor < pushed * before and (span := first.lease(0, 8)):
                first.visit(0, [span])
            pool = Pool(100, now, 1)
            pool.load(first.state())
            while span := pool.lease(0, 2):
                assert min(stop - start for _, start, stop in cut(span, now)) > 1
                pool.visit(0, [span])
            assert pool.done


def test_without_a_limit_there_is_always_another_epoch() -> None:
    pool = Pool(3, 8, None)
    assert [pool.lease(0, 1) for _ in range(4)] == [(epoch, 0, 3) for epoch in range(4)]
    assert not pool.done


@pytest.mark.parametrize(("epochs", "left"), [(3.0, [(1, 0, 10), (2, 0, 10)]), (0.5, []), (1.0, [])])
def test_the_end_may_move_while_leases_are_out(epochs: float, left: list[Any]) -> None:
    pool = Pool(10, 10, 2.0)
    pool.visit(0, [pool.lease(0, 1) or (9, 9, 9)])
    pool.end_after(epochs)
    assert pool.done is (not left)
    got = []
    while span := pool.lease(0, 1):
        got.append(span)
    assert got == left


def test_a_push_after_the_range_went_to_somebody_else_counts_as_done_twice() -> None:
    """Shard 0 rolled back: its table of leases is gone, the range is leased to another, the first one pushes it."""
    pool = Pool(10, 5, 1)
    held = pool.lease(0, 1)
    assert held == (0, 0, 5)
    text = msgspec.json.encode(pool.state())
    restored = Pool(10, 5, 1)
    restored.load(msgspec.json.decode(text, type=PoolState))
    assert restored.lease(1, 1) == held
    restored.visit(0, [held])
    assert (restored.visited, restored.revisited) == (0, 5)
    restored.visit(1, [held])
    assert (restored.visited, restored.revisited) == (5, 5)


def test_a_push_that_comes_right_after_a_restart_counts_and_is_not_done_again() -> None:
    pool = Pool(20, 5, 1)
    held = pool.lease(0, 1)
    assert held == (0, 0, 5)
    restored = Pool(20, 5, 1)
    restored.load(msgspec.json.decode(msgspec.json.encode(pool.state()), type=PoolState))
    restored.visit(0, [held])
    assert (restored.visited, restored.revisited) == (5, 0)
    assert restored.lease(1, 1) == (0, 5, 10)


def test_what_a_refused_push_covered_goes_to_the_next_who_asks() -> None:
    pool = Pool(20, 5, 1)
    held = pool.lease(0, 1)
    assert held == (0, 0, 5)
    pool.refuse(0, [(0, 0, 3)])
    assert pool.lease(1, 2) == (0, 0, 3)
    pool.visit(0, [(0, 3, 5)])
    assert (pool.visited, pool.revisited) == (2, 0)


def test_what_was_not_finite_is_leased_once_more_and_then_counts_as_visited() -> None:
    pool = Pool(8, 4, 1)
    first = pool.lease(0, 1)
    assert first is not None
    span = (first[0], first[1], first[1] + 4)
    assert pool.give_up(0, [span]) == 0 and pool.visited == 0
    again = pool.lease(1, 1)
    assert again == span
    assert pool.give_up(1, [span]) == 4
    assert (pool.visited, pool.skipped, pool.revisited) == (4, 4, 0)


def test_what_was_not_finite_once_and_then_is_visited_counts_as_new_when_it_fails_again() -> None:
    pool = Pool(4, 4, 2)
    span = pool.lease(0, 1)
    assert span is not None
    pool.give_up(0, [span])
    pool.visit(0, [pool.lease(0, 1) or span])
    assert (pool.visited, pool.skipped) == (4, 0) and not pool._doubtful
