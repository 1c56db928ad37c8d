"""What a script's loop tells of the data that are dealt out to it, so that workers with other data are refused."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import nn
from torch.utils.data import (
    ConcatDataset,
    DataLoader,
    Dataset,
    IterableDataset,
    Subset,
    SubsetRandomSampler,
    WeightedRandomSampler,
)

from asgd.wire.agreement import describe, difference, pack, unpack, with_samples
from asgd.wire.limits import DIGEST_MOST, DIGEST_PARTS_MOST
from tests.unit.worker.own_rig import BATCH, Job

SIZE = 40


class Labelled(Dataset[Any]):
    """Samples with labels that are numbered from `shift` on; the first read opens a file for good."""

    def __init__(self, shift: int = 0) -> None:
        self.shift, self.file, self.reads = shift, "", 0

    def __len__(self) -> int:
        return SIZE

    def __getitem__(self, index: int) -> tuple[torch.Tensor, int]:
        self.file, self.reads = "open", self.reads + 1
        return torch.tensor([float(index)]) + 0 * torch.rand(1), (index + self.shift) % 10


class Stream(IterableDataset[Any]):
    taken = 0

    def __iter__(self) -> Any:
        for number in range(SIZE):
            Stream.taken += 1
            yield torch.tensor([float(number)]), number


def told(items: Any, **how: Any) -> Any:
    """What a worker tells when its loop over `items` has begun."""
    job = Job()
    optimizer = job.connect(nn.Linear(1, 1), 0)
    next(iter(optimizer.until_stopped(items, **how)))
    digest = job.told[-1].digest if job.told else b""
    optimizer.close()
    return unpack(digest)


def loader(data: Any, **options: Any) -> DataLoader[Any]:
    return DataLoader(data, **({"batch_size": BATCH, "shuffle": True} | options))


WAYS = {
    "dealt, shuffled": loader,
    "dealt, in order": lambda data: loader(data, shuffle=False),
    "dealt, a subset": lambda data: loader(
        data, shuffle=None, sampler=SubsetRandomSampler(list(range(5, 30)))
    ),
    "each n-th, by a sampler of its own": lambda data: loader(
        data, shuffle=None, sampler=WeightedRandomSampler([1.0] * SIZE, 8)
    ),
    "each n-th, of a list": lambda data: [data[index] for index in range(SIZE)],
}


@pytest.mark.parametrize("way", WAYS)
def test_labels_that_are_numbered_otherwise_are_found_whichever_way_the_data_are_dealt(way: str) -> None:
    one, other = (told(WAYS[way](Labelled(shift))) for shift in (0, 1))
    assert difference(one, told(WAYS[way](Labelled()))) is None
    assert difference(one, other) == ("sample 0", "in integers or strings")


def test_a_subset_that_is_drawn_otherwise_is_found_by_the_place_in_it() -> None:
    one, other = (
        told(loader(Labelled(), shuffle=None, sampler=SubsetRandomSampler([3, 4, last]))) for last in (5, 6)
    )
    assert difference(one, other) == ("sample 2", "in integers or strings")


def test_a_list_of_another_length_is_found() -> None:
    one, other = (told([torch.ones(2)] * count) for count in (6, 7))
    assert difference(one, other) == ("sample count", "in integers or strings")


@pytest.mark.parametrize(
    ("items", "how"),
    [(loader(Labelled()), {"deal": False}), (range(3), {}), ([1, 2, 3], {}), (iter([torch.ones(1)]), {})],
    ids=["not dealt", "epochs", "numbers", "a generator"],
)
def test_what_is_not_dealt_out_is_not_compared(items: Any, how: dict[str, Any]) -> None:
    assert told(items, **how) == ()


def test_a_stream_is_not_read_to_be_compared() -> None:
    Stream.taken = 0
    assert told(loader(Stream(), shuffle=None)) == ()
    assert Stream.taken == BATCH


@pytest.mark.parametrize(
    "within",
    [lambda data: data, lambda data: Subset(data, list(range(SIZE))), lambda data: ConcatDataset([data])],
    ids=["itself", "in a subset", "concatenated"],
)
def test_what_is_opened_by_reading_a_sample_is_not_left_open_for_loader_processes(within: Any) -> None:
    data = Labelled()
    job = Job()
    optimizer = job.connect(nn.Linear(1, 1), 0)
    next(iter(optimizer.until_stopped(loader(within(data), num_workers=1))))
    assert job.told[-1].digest
    assert (data.file, data.reads) == ("", 0)
    optimizer.close()


def test_random_numbers_go_on_as_if_nothing_had_been_read() -> None:
    drawn = []
    for deal in (True, False):
        optimizer = Job().connect(nn.Linear(1, 1), 0)
        torch.manual_seed(7)
        next(iter(optimizer.until_stopped([torch.ones(1)] * 9, deal=deal)))
        drawn.append(float(torch.rand(())))
        optimizer.close()
    assert drawn[0] == drawn[1]


def test_there_is_room_for_samples_beside_a_model_of_many_frozen_tensors_which_stay_as_they_were_told() -> (
    None
):
    tensors = [describe(f"parameter {'long' * 30} {number}", number * 1.0) for number in range(3000)]
    samples = [describe(f"sample {number}", [torch.ones(3).numpy()] * 99) for number in range(8)]
    before = pack(tensors, len(samples))
    after = with_samples(before, samples)
    assert len(after) <= DIGEST_MOST and len(unpack(after)) <= DIGEST_PARTS_MOST
    assert unpack(after)[8:] == unpack(before)
