"""Leased batches: each names exactly the range it covers, however the epoch was cut and whoever loads it."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import pairwise
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import Dataset

from asgd.worker.reading.batches import LeasedBatches
from asgd.worker.reading.leased import WAIT, Lease, LeasedBatch, NextLease, Waiting
from asgd.worker.reading.order import epoch_order


class Numbers(Dataset[torch.Tensor]):
    """Sample i is the number i, so a batch says which samples it was made of."""

    def __init__(self, size: int) -> None:
        self.size = size

    def __len__(self) -> int:
        return self.size

    def __getitem__(self, index: int) -> torch.Tensor:
        return torch.tensor(index)


class BatchedNumbers(Numbers):
    def __getitems__(self, indices: list[int]) -> torch.Tensor:
        return torch.tensor(indices)

    def __getitem__(self, index: int) -> torch.Tensor:
        raise AssertionError("samples were asked for one by one")


def answers(leases: Iterable[Lease | Waiting]) -> NextLease:
    source = iter([*leases, None])
    return lambda: next(source)


def read(
    leases: Iterable[Lease | Waiting], size: int, batch_size: int = 4, data_workers: int = 0, seed: int = 7
) -> list[LeasedBatch]:
    return list(LeasedBatches(Numbers(size), batch_size, seed, None, data_workers, answers(leases)))


def assert_paired(batches: list[LeasedBatch], size: int, seed: int = 7) -> None:
    for batch in batches:
        ((epoch, start, stop),) = batch.visits
        assert batch.samples == stop - start > 0
        assert batch.batch.tolist() == epoch_order(seed, epoch, size)[start:stop].tolist()


@st.composite
def epochs_cut_into_leases(draw: st.DrawFn) -> tuple[int, list[Lease]]:
    size = draw(st.integers(1, 60))
    leases = []
    for epoch in range(draw(st.integers(1, 3))):
        cuts = sorted({0, size, *draw(st.lists(st.integers(0, size), max_size=6))})
        leases += draw(st.permutations([(epoch, a, b) for a, b in pairwise(cuts)]))
    return size, leases


@given(case=epochs_cut_into_leases(), batch_size=st.integers(1, 20), workers=st.integers(1, 4))
@settings(deadline=None)
def test_any_split_into_leases_over_any_workers_visits_every_sample_once_an_epoch(
    case: tuple[int, list[Lease]], batch_size: int, workers: int
) -> None:
    size, leases = case
    seen: dict[int, list[int]] = {}
    for worker in range(workers):
        batches = read(leases[worker::workers], size, batch_size)
        assert_paired(batches, size)
        for batch in batches:
            assert batch.samples <= batch_size
            seen.setdefault(batch.visits[0][0], []).extend(batch.batch.tolist())
    assert all(sorted(samples) == list(range(size)) for samples in seen.values())
    assert sorted(seen) == sorted({epoch for epoch, _, _ in leases})


def test_a_batch_never_crosses_a_lease_and_its_tail_is_short() -> None:
    batches = read([(0, 0, 6), (0, 6, 10)], size=10)
    assert [batch.visits for batch in batches] == [((0, 0, 4),), ((0, 4, 6),), ((0, 6, 10),)]


def test_loading_in_processes_keeps_order_and_pairs_each_batch_with_its_range() -> None:
    leases = [(epoch, start, start + 10) for epoch in range(2) for start in range(0, 50, 10)]
    batches = read(leases, size=50, data_workers=2)
    assert_paired(batches, size=50)
    assert [batch.visits for batch in batches] == [batch.visits for batch in read(leases, size=50)]


@pytest.mark.parametrize("data_workers", [0, 2])
def test_that_there_is_no_lease_now_comes_out_behind_all_that_was_prefetched(data_workers: int) -> None:
    plan: list[Any] = [(0, 0, 8), WAIT, WAIT, (0, 8, 12), WAIT, None]
    reader = LeasedBatches(Numbers(12), 4, 0, None, data_workers, lambda: plan.pop(0))
    came = [item.visits if isinstance(item, LeasedBatch) else item for item in reader]
    assert came == [((0, 0, 4),), ((0, 4, 8),), WAIT, WAIT, ((0, 8, 12),), WAIT]
    assert plan == []


@pytest.mark.parametrize("data_workers", [0, 2])
def test_a_dataset_that_reads_whole_batches_is_asked_for_whole_batches(data_workers: int) -> None:
    batches = list(
        LeasedBatches(BatchedNumbers(8), 4, 7, lambda batch: batch, data_workers, answers([(0, 0, 8)]))
    )
    assert_paired(batches, size=8)


def test_leases_are_asked_for_only_as_they_are_read_when_nothing_is_prefetched() -> None:
    source = iter([(0, 0, 4), (0, 4, 8)])
    batches = iter(LeasedBatches(Numbers(8), 4, 7, None, 0, lambda: next(source)))
    next(batches)
    assert next(source) == (0, 4, 8)


def test_an_error_of_the_users_dataset_in_training_propagates_as_it_is() -> None:
    class Torn(Numbers):
        def __getitem__(self, index: int) -> torch.Tensor:
            raise ZeroDivisionError("sample is torn")

    with pytest.raises(ZeroDivisionError, match="sample is torn"):
        list(LeasedBatches(Torn(4), 4, 7, None, 0, answers([(0, 0, 4)])))
