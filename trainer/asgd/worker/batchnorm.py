"""Batch-norm statistics for weights that no single worker trained, estimated by a dry pass."""

from __future__ import annotations

from itertools import islice

import torch
from torch import nn

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.batches import LeasedBatches
from asgd.worker.data import dataset_size

MOST_BATCHES = 50
_KINDS = (nn.BatchNorm1d, nn.BatchNorm2d, nn.BatchNorm3d, nn.SyncBatchNorm)


def recompute(task: Task, spec: JobSpec) -> None:
    """Sets the running statistics of `task.model` from up to 50 training batches, if it has any."""
    layers = [
        layer for layer in task.model.modules() if isinstance(layer, _KINDS) and layer.track_running_stats
    ]
    size = dataset_size(task, spec.entrypoint)
    if not layers or size is None:
        return
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average
    leases = iter([(0, 0, min(size, spec.batch_size * MOST_BATCHES))])
    batches = LeasedBatches(
        task.data, spec.batch_size, spec.seed, task.collate, 0, lambda: next(leases, None)
    )
    task.model.train()
    with torch.no_grad():
        for item in islice(batches, MOST_BATCHES):
            task.loss(task.model, item.batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
