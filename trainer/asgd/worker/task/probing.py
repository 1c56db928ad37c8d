"""The probe set of strategies that compare individuals: the same samples in every worker, best of all unseen ones.

Of a map-style dataset that has at least four times as many, `probes` samples are taken out, chosen by the job's
seed, and nobody trains on them. Smaller ones lend samples that stay in training; of a stream its first batches are
read under the job's seed, which are the same in all workers unless the stream goes by worker. Fitness is the task's
own loss on them, the model in evaluation mode.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch.utils.data import Dataset

from asgd.algorithms.registry import halves
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.accelerator import to_device
from asgd.worker.device.flat import Flat
from asgd.worker.device.modes import evaluating
from asgd.worker.reading.batches import StreamedBatches
from asgd.worker.reading.data import dataset_size, fetch, stream_loader

LEAST_SHARE = 4
"""Data must hold so many times the probe set for it to be taken out of training."""


class Part(Dataset[Any]):
    """Some rows of a map-style dataset."""

    def __init__(self, dataset: Any, rows: list[int]) -> None:
        self._dataset, self._rows = dataset, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, index: int) -> Any:
        return self._dataset[self._rows[index]]

    def __getitems__(self, indices: list[int]) -> Any:
        rows = [self._rows[index] for index in indices]
        batched = getattr(self._dataset, "__getitems__", None)
        return batched(rows) if batched else [self._dataset[row] for row in rows]


class Probe:
    """Batches of the probe set, (batch, samples) each."""

    def __init__(self, task: Task, batches: list[tuple[Any, int]]) -> None:
        self.task, self.batches = task, batches

    def loss(self, flat: Flat, device: torch.device, weights: torch.Tensor) -> float:
        """The task's mean loss over the set at `weights`; the model's own weights stay as they are."""
        model, own = self.task.model, flat.weights.clone()
        flat.load(weights)
        total = 0.0
        with evaluating(model), torch.no_grad():
            for batch, samples in self.batches:
                total += float(self.task.loss(model, to_device(batch, device))) * samples
        flat.load(own)
        return total / sum(samples for _, samples in self.batches)


def take_probe(task: Task, spec: JobSpec) -> Probe | None:
    """The probe set that the job's strategy wants, None for none; what is taken out leaves `task.data`.

    NB: to be called right after the task was built, under the same random numbers in every worker.
    """
    wanted = halves(spec).worker().probes
    if not wanted:
        return None
    size = dataset_size(task, spec.entrypoint)
    if size is None:
        return Probe(task, _first_of_stream(task, spec, wanted))
    seed = np.random.SeedSequence([0x9B0B, spec.seed])
    rows = np.random.Generator(np.random.PCG64(seed)).permutation(size).tolist()
    chosen, data = rows[:wanted], task.data
    if size >= LEAST_SHARE * wanted:
        task.data = Part(data, sorted(rows[wanted:]))
    cuts = range(0, len(chosen), spec.batch_size)
    batches = [chosen[start : start + spec.batch_size] for start in cuts]
    return Probe(task, [(fetch(data, batch, task.collate), len(batch)) for batch in batches])


def _first_of_stream(task: Task, spec: JobSpec, wanted: int) -> list[tuple[Any, int]]:
    batches: list[tuple[Any, int]] = []
    for item in StreamedBatches(stream_loader(task, spec)):
        batches.append((item.batch, item.samples))
        if sum(samples for _, samples in batches) >= wanted:
            break
    return batches
