"""Batch norm's running statistics for weights that no single worker trained: estimated anew from training batches.

This is `spec.buffers: recompute`, and what the other policies fall back on until workers have told theirs. The
task's own loss runs without gradients over up to 50 training batches, batch norm in training mode and all else
(dropout) in evaluation mode; the statistics are the plain average over the batches that are finite. A layer
that its user has frozen keeps those that it has.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice

import torch
from torch.nn.modules.batchnorm import _BatchNorm

from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.accelerator import to_device
from asgd.worker.device.modes import evaluating
from asgd.worker.reading.batches import LeasedBatches, StreamedBatches
from asgd.worker.reading.data import dataset_size, stream_loader
from asgd.worker.reading.leased import LeasedBatch

MOST_BATCHES = 50


def recompute(task: Task, spec: JobSpec, device: torch.device) -> None:
    """Sets the running statistics of `task.model`, which is on `device`; a model without them is left alone."""
    layers = [m for m in task.model.modules() if isinstance(m, _BatchNorm) and _learns(m)]
    if not layers:
        return
    found = [(layer.momentum, _count(layer).clone()) for layer in layers]
    with evaluating(task.model):
        for layer in layers:
            layer.reset_running_stats()
            layer.momentum = None  # the plain average of all batches
            layer.train()
        with torch.no_grad():
            for item in islice(_batches(task, spec), MOST_BATCHES):
                before = [_means(layer) for layer in layers]
                task.loss(task.model, to_device(item.batch, device))
                _forget_bad(layers, before)
    for layer, (momentum, count) in zip(layers, found, strict=True):
        layer.momentum = momentum
        # NB: else the model's file would tell whether it was measured before workers had told their buffers.
        _count(layer).copy_(count)


def _means(layer: _BatchNorm) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    assert layer.running_mean is not None and layer.running_var is not None
    return layer.running_mean.clone(), layer.running_var.clone(), _count(layer).clone()


def _forget_bad(layers: list[_BatchNorm], before: Sequence[tuple[torch.Tensor, ...]]) -> None:
    """A batch that brought inf or nan into the statistics is left out of all of them."""
    if all(bool(torch.isfinite(value).all()) for layer in layers for value in _means(layer)):
        return
    for layer, kept in zip(layers, before, strict=True):
        for value, old in zip((layer.running_mean, layer.running_var, _count(layer)), kept, strict=True):
            assert value is not None
            value.copy_(old)


def _learns(layer: _BatchNorm) -> bool:
    """Whether training moves the layer's statistics: not where it is frozen, by `eval()` or with its weights."""
    own = [*layer.parameters(recurse=False)]
    frozen = bool(own) and not any(parameter.requires_grad for parameter in own)
    return layer.track_running_stats and layer.training and not frozen


def _count(layer: _BatchNorm) -> torch.Tensor:
    """Batches that the layer has seen in training; there for every layer with running statistics."""
    count = layer.num_batches_tracked
    assert count is not None
    return count


def _batches(task: Task, spec: JobSpec) -> Iterator[LeasedBatch]:
    size = dataset_size(task, spec.entrypoint)
    if size is None:
        return iter(StreamedBatches(stream_loader(task, spec)))
    leases = iter([(0, 0, min(size, spec.batch_size * MOST_BATCHES))])
    how = (spec.batch_size, spec.seed, task.collate, 0, lambda: next(leases, None))
    return (item for item in LeasedBatches(task.data, *how) if isinstance(item, LeasedBatch))
