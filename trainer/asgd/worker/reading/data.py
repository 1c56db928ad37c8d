"""Turns `Task.data` into one worker's batches, whatever kind of data it is.

* A map-style dataset (it has a length and gives samples by index) is read by leases: every sample once an
  epoch, whichever worker comes or goes.
* An `IterableDataset`, a `DataLoader` or any other iterable of batches is a repeated stream of this worker
  alone.

What is wrong with users' data when it is opened becomes one sentence; what it raises later propagates as it
is. Batches stay on the CPU: moving them is left to `accelerator.py`.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch.utils.data import DataLoader, IterableDataset

from asgd.errors import UserError
from asgd.spec.environment import Env
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.reading.batches import LeasedBatches, StreamedBatches
from asgd.worker.reading.leased import Lease, LeasedBatch, Leasing, NextLease, Waiting, range_of

_USERS_FAULTS = (
    ArithmeticError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)
"""What reading a user's data may raise when it is opened: their mistake, told in one sentence."""


def open_batches(
    task: Task, spec: JobSpec, worker_index: int, next_lease: NextLease
) -> Iterator[LeasedBatch | Waiting]:
    """This worker's batches, until `next_lease` answers None (map-style) or for ever (streams).

    Reads one sample of a map-style dataset, or the first batch of a stream, and raises UserError naming the
    entrypoint when that cannot be done. What users' data raises later propagates. From here on the random
    numbers of `random`, `numpy` and `torch` in this process follow (spec.seed, worker_index): workers
    shuffle, augment and drop out differently.
    """
    os.environ.update(worker_environment(spec, worker_index))
    size = dataset_size(task, spec.entrypoint)
    if size is not None:
        with _Opening(spec.entrypoint):
            fetch(task.data, [0], task.collate)
    seed_worker(spec.seed, worker_index)
    if size is not None:
        how = (spec.batch_size, spec.seed, task.collate, task.data_workers, next_lease)
        return iter(LeasedBatches(task.data, *how))
    with _Opening(spec.entrypoint):
        batches = iter(StreamedBatches(stream_loader(task, spec)))
        first = next(batches, None)
    if first is None:
        kind = type(task.data).__name__
        raise UserError(f"{spec.entrypoint}: Task.data ({kind}) gave no batch; at least 1 is needed")
    return chain([first], batches)


def next_lease(leasing: Leasing, over: Callable[[], bool]) -> NextLease:
    """The ranges of `leasing` as a reader asks for them; none once it is `over`."""

    def ask() -> Lease | Waiting | None:
        return None if over() else range_of(leasing.next())

    return ask


def dataset_size(task: Task, entrypoint: str = "spec.entrypoint") -> int | None:
    """Samples in a map-style dataset, None for streams; UserError when `Task.data` is neither, or empty."""
    data: Any = task.data
    kind = type(data).__name__
    unfit = isinstance(data, (Mapping, str, bytes))
    if isinstance(data, (DataLoader, IterableDataset)):
        return None
    if hasattr(data, "__getitem__") and hasattr(data, "__len__") and not unfit:
        with _Opening(entrypoint):
            size = len(data)
        if size == 0:
            raise UserError(f"{entrypoint}: Task.data ({kind}) has 0 samples; at least 1 is needed")
        return size
    if hasattr(data, "__iter__") and not unfit:
        return None
    raise UserError(
        f"{entrypoint}: Task.data is of type {kind}; allowed are a map-style dataset (with __len__ and "
        "__getitem__), an IterableDataset, or a DataLoader"
    )


def guarantee(task: Task) -> str:
    """One sentence for the summary: what is promised about how often samples are seen."""
    if dataset_size(task) is not None:
        return "every sample once an epoch"
    kind = type(task.data).__name__
    return f"no promise for each sample: every worker repeats a stream of its own ({kind})"


def worker_environment(spec: JobSpec, worker_index: int) -> dict[str, str]:
    """How users' datasets learn which worker they are in; to be set before the entrypoint is called.

    ASGD_WORKER_INDEX and ASGD_WORKERS. NB: not RANK and WORLD_SIZE: who reads those (accelerate, timm) takes them
    for torchrun's, and waits for a rendezvous that nobody comes to. A stream that shards itself takes shard
    `index * info.num_workers + info.id` of `workers * info.num_workers` with torch's `get_worker_info()`, which keeps
    its meaning inside one worker. Jobs are elastic: the count is that of the spec when this worker started.
    """
    index, workers = str(worker_index), str(max(spec.workers.replicas, worker_index + 1))
    return {Env.WORKER_INDEX: index, Env.WORKERS: workers}


def stream_loader(task: Task, spec: JobSpec) -> Iterable[Any]:
    """The batches of a task whose data is a stream."""
    if isinstance(task.data, IterableDataset):
        return DataLoader(
            task.data, batch_size=spec.batch_size, collate_fn=task.collate, num_workers=task.data_workers
        )
    assert isinstance(task.data, Iterable)  # dataset_size has refused all else
    return task.data


def fetch(dataset: Any, indices: list[int], collate: Callable[[list[Any]], Any] | None) -> Any:
    batched = getattr(dataset, "__getitems__", None)
    samples = batched(indices) if batched else [dataset[index] for index in indices]
    return (collate or torch.utils.data.default_collate)(samples)


def seed_worker(seed: int, worker_index: int) -> None:
    """Gives this process random numbers of its own.

    NB: the leading word keeps these numbers apart from the epochs' orders, which use (seed, epoch).
    """
    state = np.random.SeedSequence([0xA5D, seed, worker_index]).generate_state(3)
    random.seed(int(state[0]))
    np.random.seed(int(state[1]))
    torch.manual_seed(int(state[2]))


class _Opening:
    """Turns what users' data raises while it is opened into one sentence."""

    def __init__(self, entrypoint: str) -> None:
        self._entrypoint = entrypoint

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError):
            raise UserError(f"{self._entrypoint}: {error}") from error
        if isinstance(error, _USERS_FAULTS):
            text = str(error).strip().splitlines()
            reason = f"{type(error).__name__}: {text[-1] if text else 'no message'}"
            raise UserError(f"{self._entrypoint}: Task.data cannot be read ({reason})") from error
