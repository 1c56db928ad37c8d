"""Opening users' data: what is leased, what streams and how often, what is refused in which words."""

from __future__ import annotations

import os
import random
from collections.abc import Iterator
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import (
    DataLoader,
    Dataset,
    DistributedSampler,
    IterableDataset,
    TensorDataset,
    get_worker_info,
)

from asgd.errors import UserError
from asgd.spec.types import JobSpec, Workers
from asgd.task import Task
from asgd.worker.reading.data import dataset_size, guarantee, open_batches, worker_environment
from asgd.worker.reading.leased import LeasedBatch

SPEC = JobSpec(entrypoint="mine:task", batch_size=4, workers=Workers(replicas=3))


@pytest.fixture(autouse=True)
def keep_the_process_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ASGD_WORKER_INDEX", "ASGD_WORKERS", "RANK", "WORLD_SIZE"):
        monkeypatch.setenv(name, "before")


def task(data: Any, **parts: Any) -> Task:
    return Task(model=nn.Linear(1, 1), loss=lambda model, batch: model(batch).mean(), data=data, **parts)


def stream(data: Any, batches: int, worker: int = 0, **parts: Any) -> list[LeasedBatch]:
    return list(islice(open_batches(task(data, **parts), SPEC, worker, lambda: None), batches))


class Count(IterableDataset[int]):
    """0..size-1 in order; shards itself over DataLoader processes and over the job's workers when told to."""

    def __init__(self, size: int, over_the_job: bool = False) -> None:
        self.size, self.over_the_job = size, over_the_job

    def __iter__(self) -> Iterator[int]:
        info = get_worker_info()
        shard, shards = (info.id, info.num_workers) if info else (0, 1)
        if self.over_the_job:
            shard += int(os.environ["ASGD_WORKER_INDEX"]) * shards
            shards *= int(os.environ["ASGD_WORKERS"])
        return iter(range(shard, self.size, shards))


def test_a_stream_is_batched_and_repeated_for_ever_without_naming_visits() -> None:
    batches = stream(Count(6), 4)
    assert [batch.batch.tolist() for batch in batches] == [[0, 1, 2, 3], [4, 5], [0, 1, 2, 3], [4, 5]]
    assert [batch.samples for batch in batches] == [4, 2, 4, 2]
    assert {batch.visits for batch in batches} == {()}


def test_a_stream_that_shards_itself_over_loader_processes_keeps_working() -> None:
    batches = stream(Count(16), 4, data_workers=2)
    assert sorted(x for batch in batches for x in batch.batch.tolist()) == list(range(16))


@pytest.mark.parametrize("data_workers", [0, 2])
def test_a_stream_can_shard_itself_over_the_workers_of_the_job(data_workers: int) -> None:
    passes = 24 // 3 // 4
    seen = [
        x
        for worker in range(3)
        for batch in stream(Count(24, over_the_job=True), passes, worker, data_workers=data_workers)
        for x in batch.batch.tolist()
    ]
    assert sorted(seen) == list(range(24))


def test_a_worker_finds_its_index_where_users_of_torchrun_look_for_it() -> None:
    assert worker_environment(SPEC, 1) == {
        "ASGD_WORKER_INDEX": "1",
        "ASGD_WORKERS": "3",
        "RANK": "1",
        "WORLD_SIZE": "3",
    }
    assert worker_environment(SPEC, 5)["WORLD_SIZE"] == "6"  # a worker added later than this spec


def test_a_dataloader_is_used_as_it_is_and_its_sampler_told_each_pass() -> None:
    numbers = TensorDataset(torch.arange(10))
    sampler: DistributedSampler[Any] = DistributedSampler(numbers, num_replicas=2, rank=1, seed=3)
    batches = stream(DataLoader(numbers, batch_size=5, sampler=sampler), 3)
    expected = []
    for epoch in range(3):
        sampler.set_epoch(epoch)
        expected.append(list(sampler))
    assert [batch.batch[0].tolist() for batch in batches] == expected
    assert expected[0] != expected[1]
    assert [batch.samples for batch in batches] == [5, 5, 5]


def test_a_loader_of_another_library_is_a_stream_of_batches() -> None:
    class Loader:
        def __iter__(self) -> Iterator[dict[str, Any]]:
            yield {"ids": ["a", "b", "c"], "scale": torch.tensor(2.0), "x": torch.zeros(3, 2)}

    assert [batch.samples for batch in stream(Loader(), 2)] == [3, 3]


def test_a_generator_ends_when_it_is_used_up() -> None:
    assert len(stream((torch.zeros(2) for _ in range(3)), 10)) == 3


def test_workers_draw_different_random_numbers_and_a_restarted_one_the_same() -> None:
    def drawn(worker: int) -> tuple[float, ...]:
        open_batches(task([torch.zeros(1)]), SPEC, worker, lambda: None)
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    assert drawn(0) == drawn(0)
    assert len({number for worker in range(3) for number in drawn(worker)}) == 9


def test_sizes_and_promises_follow_the_kind_of_data() -> None:
    numbers = TensorDataset(torch.arange(10))
    assert dataset_size(task(numbers)) == 10
    assert dataset_size(task([torch.zeros(1)] * 3)) == 3
    assert dataset_size(task(Count(5))) is None
    assert dataset_size(task(DataLoader(numbers))) is None
    assert guarantee(task(numbers)) == "every sample once an epoch"
    assert "no promise" in guarantee(task(Count(5)))
    assert "Count" in guarantee(task(Count(5)))


class Unreadable(Dataset[Any]):
    def __len__(self) -> int:
        return 3

    def __getitem__(self, index: int) -> Any:
        raise FileNotFoundError("traceback of a loader process\nno such file: images.tar")


class Endless(Dataset[Any]):
    def __getitem__(self, index: int) -> Any:
        return index


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ([], "list) has 0 samples"),
        (Count(0), "Count) gave no batch"),
        (
            DataLoader(TensorDataset(torch.zeros(3)), batch_size=8, drop_last=True),
            "DataLoader) gave no batch",
        ),
        (Unreadable(), "FileNotFoundError: no such file: images.tar"),
        (DataLoader(Unreadable()), "FileNotFoundError: no such file: images.tar"),
        ([object()], "TypeError"),
        (Endless(), "is of type Endless; allowed are a map-style dataset (with __len__"),
        ({"train": [1]}, "is of type dict; allowed are"),
        (None, "is of type NoneType; allowed are"),
        (DataLoader([{"text": "a"}]), "without a tensor"),
    ],
)
def test_bad_data_is_refused_when_opened_in_one_sentence_that_names_the_entrypoint(
    data: Any, words: str
) -> None:
    with pytest.raises(UserError) as refusal:
        open_batches(task(data), SPEC, 0, lambda: None)
    message = str(refusal.value)
    assert message.startswith("mine:task: ")
    assert words in message
    assert "\n" not in message
