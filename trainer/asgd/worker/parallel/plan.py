"""From the job's `workers.stages` and `workers.devices` to stages: how many, cut where, on which devices.

The user's own cut is a `Task.stages` of exactly as many modules as there are stages. Otherwise the chain's layers are
put together evenly: by floating-point operations of a sample, or by parameters where data is a stream, whose samples a
look would use up, or where nothing could be counted.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from asgd.errors import UserError
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.worker.device.flat import Flat
from asgd.worker.parallel.chain import Chain, chain_of
from asgd.worker.parallel.cuts import cut_evenly
from asgd.worker.parallel.measure import Costs, check_same, measure
from asgd.worker.parallel.spread import SpreadFlat
from asgd.worker.parallel.stage import Stage
from asgd.worker.reading.data import dataset_size, fetch

SAMPLES = 2
"""Samples that are looked at to measure layers."""


def stages_of(spec: JobSpec) -> int:
    """How many stages the job asks for."""
    return spec.workers.stages or max(1, spec.workers.devices.count)


def asked(spec: JobSpec) -> str:
    """What the user has written, for messages."""
    if spec.workers.stages:
        return f"spec.workers.stages: {spec.workers.stages}"
    return f"spec.workers.stages: null, which means one for each of the {spec.workers.devices.count} devices"


def cut(task: Task, spec: JobSpec) -> list[list[nn.Module]]:
    """The layers of each stage. Raises UserError when the model cannot be cut so, or a sample shows that it fails."""
    chain, count = chain_of(task, asked(spec)), stages_of(spec)
    if chain.most < count:
        layers = len(chain.layers)
        shared = " of which some share parameters" if chain.most < layers else ""
        raise UserError(
            f"{asked(spec)}, but {'Task.stages' if task.stages is not None else 'the model'} has {layers} layer"
            f"{'s' if layers > 1 else ''}{shared}; allowed: {f'1 to {chain.most}' if chain.most > 1 else '1'}"
        )
    if len(chain.layers) == count:
        return [[layer] for layer in chain.layers]
    batch = _sample(task)
    return _cut_evenly(chain, Costs() if batch is None else measure(task, chain.layers, batch), count)


def check(task: Task, spec: JobSpec, batch: Any) -> None:
    """What can be known of the stages before training. Raises UserError. `batch`: some of the data."""
    cut(task, spec)
    check_same(task, measure(task, chain_of(task, asked(spec)).layers, batch), batch)


def place(
    task: Task, layers: Sequence[Sequence[nn.Module]], devices: Sequence[torch.device]
) -> tuple[Flat, list[Stage]]:
    """Puts the model on `devices`, neighbouring stages together where there are fewer devices than stages."""
    count = len(layers)
    stages = [
        Stage(number, own, devices[number * min(len(devices), count) // count])
        for number, own in enumerate(layers)
    ]
    used = {stage.device for stage in stages}
    flat = Flat(task.model, used.pop()) if len(used) == 1 else SpreadFlat(task.model, stages)
    return flat, stages


def _sample(task: Task) -> Any:
    size = dataset_size(task)
    if size is None:
        return None
    return fetch(task.data, list(range(min(SAMPLES, size))), task.collate)


def _cut_evenly(chain: Chain, costs: Costs, count: int) -> list[list[nn.Module]]:
    layers = chain.layers
    parameters = [float(sum(p.numel() for p in layer.parameters())) for layer in layers]
    counted = sum(costs.operations) > 0
    starts = cut_evenly(
        costs.operations if counted else parameters, costs.given or [0.0] * len(layers), count, chain.allowed
    )
    return [layers[start:stop] for start, stop in zip(starts, [*starts[1:], len(layers)], strict=True)]
