"""How a task's batches are cut into micro-batches: `reading/micro.py`, with a second batch of its data to look at."""

from __future__ import annotations

from typing import Any

from torch.utils.data import DataLoader, IterableDataset

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.randomness import random_state, set_random_state
from asgd.worker.reading.data import dataset_size, fetch
from asgd.worker.reading.micro import MicroBatches


def pieces_of(task: Task, spec: JobSpec) -> MicroBatches:
    """Cuts the task's batches."""
    whole = 0 if dataset_size(task) is None else spec.batch_size
    return MicroBatches(task.accumulate, whole, lambda samples: another_batch(task, samples))


def another_batch(task: Task, samples: int) -> tuple[Any, int] | None:
    """A batch of 2 or 3 samples, not of `samples`, and its number; None where there is none to be had.

    Random numbers are afterwards where they were.
    """
    data: Any = task.data
    collate = task.collate
    if isinstance(data, DataLoader):
        data, collate = data.dataset, data.collate_fn if data.batch_size else None
        if collate is None or isinstance(data, IterableDataset):
            return None
    count = 3 if samples != 3 else 2
    before = random_state()
    try:
        if len(data) < count:
            return None
        return fetch(data, list(range(count)), collate), count
    except Exception:
        # Users' data may raise anything; what trains on it tells.
        return None
    finally:
        set_random_state(before)
