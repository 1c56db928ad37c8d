"""The order of an epoch: one permutation that all workers compute alike, on every NumPy version."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from asgd.worker.reading.order import epoch_order


@given(seed=st.integers(0, 2**63), epoch=st.integers(0, 10**6), size=st.integers(0, 2000))
def test_an_order_holds_every_sample_exactly_once(seed: int, epoch: int, size: int) -> None:
    order = epoch_order(seed, epoch, size)
    assert order.dtype == np.int64
    assert np.array_equal(np.sort(order), np.arange(size))


def test_orders_differ_between_epochs_and_between_seeds() -> None:
    orders = {epoch_order(seed, epoch, 100).tobytes() for seed in range(5) for epoch in range(5)}
    assert len(orders) == 25


def test_the_order_is_pinned_so_that_a_job_resumed_elsewhere_reads_the_same_samples() -> None:
    assert epoch_order(0, 0, 8).tolist() == [3, 2, 1, 6, 0, 7, 4, 5]
    assert epoch_order(0, 1, 8).tolist() == [7, 4, 5, 1, 6, 2, 0, 3]


def test_the_last_two_epochs_are_kept_and_cannot_be_written_to() -> None:
    first, second = epoch_order(9, 0, 50), epoch_order(9, 1, 50)
    assert epoch_order(9, 0, 50) is first
    assert epoch_order(9, 1, 50) is second
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_every_sample_is_equally_likely_at_every_position() -> None:
    size, epochs = 10, 4000
    counts = np.zeros((size, size))
    for epoch in range(epochs):
        counts[np.arange(size), epoch_order(1, epoch, size)] += 1
    spread = ((counts - epochs / size) ** 2 / (epochs / size)).sum()
    assert spread < 150  # chi-squared with 81 degrees of freedom: one seed in 200,000 would fail
