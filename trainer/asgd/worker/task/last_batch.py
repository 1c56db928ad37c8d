"""The short batch that each pass over the data ends with, to be tried before the start: batch norm can't train on one
sample, and what fails there would fail at the end of the first epoch, in plain PyTorch too."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from torch.utils.data import BatchSampler, DataLoader, IterableDataset

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.reading.data import dataset_size, fetch
from asgd.worker.reading.leased import LeasedBatch


@dataclass(frozen=True, slots=True)
class LastBatch:
    """It has `samples`; `read` reads it, and raises what users' data raise."""

    samples: int
    read: Callable[[], Any]
    where: str
    """Which field makes it, with its value."""
    allowed: str

    def item(self) -> LeasedBatch:
        """It, as a worker gets it."""
        return LeasedBatch(self.read(), self.samples)

    def refusal(self, why: str) -> str:
        """What is said when it can't be trained on."""
        count = "1 sample" if self.samples == 1 else f"{self.samples} samples"
        return f"{self.where} leaves a last batch of {count}, of which {why}; allowed: {self.allowed}"


def last_batch(task: Task, spec: JobSpec) -> LastBatch | None:
    """None where all batches are of one size, or where nobody knows."""
    data: Any = task.data
    if isinstance(data, DataLoader):
        return _of_loader(data, spec)
    size = dataset_size(task, spec.entrypoint)
    if size is None or not (left := size % spec.batch_size) or size < spec.batch_size:
        return None
    if _ends_before(spec, size - left):
        return None
    return LastBatch(
        left,
        lambda: fetch(data, list(range(left)), task.collate),
        f"spec.batchSize: {spec.batch_size} of the {size} samples of {spec.entrypoint}",
        f"another batchSize, or data of {size - left} samples",
    )


def _ends_before(spec: JobSpec, samples: int) -> bool:
    """The job is over after so many samples at most."""
    rule, size = spec.stop_after, spec.batch_size
    return any(
        most is not None and most <= samples for most in (rule.samples, rule.updates and rule.updates * size)
    )


def _of_loader(loader: DataLoader[Any], spec: JobSpec) -> LastBatch | None:
    batches: Any = loader.batch_sampler
    known = type(batches) is BatchSampler and not isinstance(loader.dataset, IterableDataset)
    if not known or batches.drop_last or not hasattr(batches.sampler, "__len__"):
        return None
    size, batch = len(batches.sampler), int(batches.batch_size)
    left = size % batch
    if not left or size < batch:
        return None
    return LastBatch(
        left,
        lambda: fetch(loader.dataset, list(range(left)), loader.collate_fn),
        f"spec.entrypoint: {spec.entrypoint}: Task.data, a DataLoader of batch_size {batch} over {size} samples,",
        "drop_last=True, or another batch_size",
    )
