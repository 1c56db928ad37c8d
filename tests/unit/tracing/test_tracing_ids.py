"""Worker and server name the spans of an exchange alike, without a word between them."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from asgd.tracing.ids import ids_of

NUMBERS = st.integers(0, 2**62)


@settings(max_examples=25, deadline=None)
@given(st.text(max_size=40), NUMBERS, NUMBERS, NUMBERS, NUMBERS)
def test_ids_fit_their_fields_and_are_never_none(
    job: str, worker: int, came: int, number: int, pull: int
) -> None:
    ids = ids_of(job, worker, came, number, pull)
    assert 0 < ids.trace < 2**128
    assert all(0 < each < 2**64 for each in (ids.exchange, ids.push(0), ids.pull(0, pull)))
    assert ids == ids_of(job, worker, came, number, pull)


def test_a_pull_belongs_to_the_push_before_it_and_one_before_any_is_a_trace_of_its_own() -> None:
    push, later = ids_of("digits", 1, 7, 5, 11), ids_of("digits", 1, 7, 5, 12)
    assert push == later and push.pull(0, 11) != push.pull(0, 12) != push.pull(1, 12)
    assert ids_of("digits", 1, 7, 0, 1).trace != ids_of("digits", 1, 7, 0, 2).trace


def test_exchanges_of_other_jobs_workers_starts_and_numbers_are_others() -> None:
    found = {
        ids_of(*each, 0).trace
        for each in [("a", 1, 7, 5), ("b", 1, 7, 5), ("a", 2, 7, 5), ("a", 1, 8, 5), ("a", 1, 7, 6)]
    }
    assert len(found) == 5


def test_traces_are_spread_evenly_so_a_share_of_them_is_that_share() -> None:
    low = sum(ids_of("digits", 0, 1, number, 0).trace % 2**64 < 2**64 // 100 for number in range(1, 20_001))
    assert 140 < low < 260
