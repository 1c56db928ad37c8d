"""What a user's entrypoint returns: a model, its loss, its data and, if there is one, its evaluation.

The job file names `module:callable`; the callable takes `spec.args` as keyword arguments and returns a `Task`. The same
task is built in every worker and in the evaluator, each time under the job's seed, so all start from the same weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import nn


@dataclass(kw_only=True)
class Task:
    """A training task as plain PyTorch parts.

    model:     any `nn.Module`; its float parameters are trained, its buffers follow `spec.buffers`. May be compiled.
    loss:      `loss(model, batch) -> scalar Tensor`, the mean over the batch. Autocast belongs in here.
               Or a dict, of which "loss" is trained and the rest (numbers, scalar Tensors) is shown and recorded.
               With stages it calls the model once, and does nothing else with it.
    data:      a map-style dataset (leased in chunks: every sample once an epoch), an `IterableDataset`, or a
               `DataLoader` (both: a stream of its own for each worker, without that guarantee).
    evaluate:  `evaluate(model) -> {metric: value}` on held-out data, called on the job's answer.
    collate:   how samples of a map-style dataset become a batch; PyTorch's default if not given.
    accumulate: micro-batches that make one gradient; `spec.batchSize` is the whole batch.
    data_workers: DataLoader processes for a map-style dataset in each worker; 0 loads in the training process.
    callbacks: objects that are told how training goes (`asgd.Callback`, or any object with some of its methods).
    optimizer: `lambda params: torch.optim.AdamW(params, lr=1e-3)`, in the place of `spec.optimizer`; `params` are the
               model's trained parameters. Or an optimizer made of them. Servers run its rule where they apply
               gradients and have it; else it steps in each worker.
    schedulers: `lambda optimizer: OneCycleLR(optimizer, 0.1, total_steps=...)`: what moves that optimizer's figures, by
               the job's steps. Or a list; each alone, or with its rhythm: {"scheduler": ..., "interval": "epoch"}.
    fields:    {"batchSize": 16}: fields of the job's spec that this task is made for. `asgd.run(task)` fills them in; a
               job file that says otherwise is refused.
    stages:    modules that make up the model's forward one after the other, for `spec.workers.stages` above 1: as
               many as there are stages, or more, to be put together evenly. Needless for a plain `nn.Sequential`.
    """

    model: nn.Module
    loss: Callable[[nn.Module, Any], Any]
    data: Iterable[Any] | torch.utils.data.Dataset[Any]
    evaluate: Callable[[nn.Module], Mapping[str, float]] | None = None
    collate: Callable[[list[Any]], Any] | None = None
    accumulate: int = 1
    data_workers: int = 0
    callbacks: Sequence[Any] = ()
    stages: Sequence[nn.Module] | None = None
    optimizer: torch.optim.Optimizer | Callable[[list[nn.Parameter]], torch.optim.Optimizer] | None = None
    schedulers: Callable[[torch.optim.Optimizer], Any] | None = None
    fields: Mapping[str, Any] = field(default_factory=dict)
