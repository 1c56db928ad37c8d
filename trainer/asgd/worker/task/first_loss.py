"""The loss of the samples that a task's process reads first, as all processes of the job must compute it.

It is tried on the device where the process computes, on up to eight samples, in evaluation mode, at the weights that
the task was built with. Twice, under two seeds: a loss that draws random numbers differs then and is compared with
nobody's, for other devices draw otherwise. On processors it is tried in a copy of the process, so that nothing changes
by it; elsewhere nothing of the model does. What raises here is told by who trains.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import msgspec
import torch
from torch import Tensor

from asgd.host.apart import apart
from asgd.host.say import say
from asgd.spec.types import JobSpec
from asgd.task import Task
from asgd.wire.agreement import TOLERANCE, Part, describe, factors
from asgd.wire.first_loss import loss_part, unlike_loss
from asgd.worker.device.accelerator import to_device
from asgd.worker.device.draws import generator
from asgd.worker.device.flat import Flat
from asgd.worker.device.modes import evaluating
from asgd.worker.device.randomness import seed_everywhere
from asgd.worker.device.untouched import uncompiled, untouched
from asgd.worker.parallel.plan import stages_of

SECONDS_MOST = 5.0
"""A loss that takes longer is not computed twice, and not compared."""
COPY_SECONDS = 10.0
"""The copy of the process has so long for both."""
SEEDS = 0x10551, 0x10552
ROW = 1 << 12
"""Large vectors are added up to so many numbers."""


class Tried(NamedTuple):
    """The loss as others are told it, if it can be compared, and whether it draws random numbers."""

    parts: list[Part]
    draws: bool = False


def first_loss(task: Task, spec: JobSpec, flat: Flat, samples: Sequence[Any]) -> list[Part]:
    """Of some of `samples`, as the task's data give them; none where it can't be compared: with stages, or for chance.

    The part of the most samples stands first, those of a half, a quarter and so on of them behind it.

    `flat`: the weights of `task.model`, which nobody has changed.
    """
    count = _count(len(samples), spec.batch_size // max(1, task.accumulate))
    if not count or stages_of(spec) > 1:
        return []
    tried = (
        _apart(task, flat, samples[:count])
        if flat.device.type == "cpu"
        else tried_here(task, flat, samples[:count])
    )
    if tried.draws:
        say("the loss draws random numbers: it is not compared with that of other processes")
    return tried.parts


def _apart(task: Task, flat: Flat, samples: Sequence[Any]) -> Tried:
    def compute() -> bytes:
        # NB: threads of the process that is copied are not in the copy.
        torch.set_num_threads(1)
        return msgspec.msgpack.encode(tried_here(task, flat, samples))

    answer = apart(compute, COPY_SECONDS)
    return msgspec.msgpack.decode(answer, type=Tried) if answer else Tried([])


def tried_here(task: Task, flat: Flat, samples: Sequence[Any]) -> Tried:
    """The same in this process."""
    try:
        return _tried(task, flat, samples)
    except (Exception, SystemExit):
        # Users' code may raise anything. It did not in the check, and will again in training.
        return Tried([])


def _count(samples: int, most: int) -> int:
    """A power of two, as its halves are: two processes of which one had time to read less have some in common."""
    room = min(samples, max(1, most))
    return 1 << (room.bit_length() - 1) if room else 0


def _tried(task: Task, flat: Flat, samples: Sequence[Any]) -> Tried:
    began = time.monotonic()
    found: list[Part] = []
    for seed in SEEDS:
        if time.monotonic() - began > SECONDS_MOST:
            return Tried([])
        found.append(_once(task, flat, samples, seed))
    if unlike_loss(found[0], found[1], TOLERANCE):
        return Tried([], draws=True)
    return Tried([found[0], *_of_fewer(task, flat, samples, began)])


def _of_fewer(task: Task, flat: Flat, samples: Sequence[Any], began: float) -> Iterator[Part]:
    """For who had no time to read as many: of a half of `samples`, a quarter and so on, while there is time."""
    while len(samples) > 1 and time.monotonic() - began <= SECONDS_MOST:
        samples = samples[: len(samples) // 2]
        yield _once(task, flat, samples, SEEDS[0])


def _once(task: Task, flat: Flat, samples: Sequence[Any], seed: int) -> Part:
    with untouched(task.model, flat), evaluating(task.model), uncompiled():
        seed_everywhere(seed, generator(flat.device))
        return _computed(task, flat, samples)


def _computed(task: Task, flat: Flat, samples: Sequence[Any]) -> Part:
    batch = (task.collate or torch.utils.data.default_collate)(list(samples))
    flat.zero()
    flat.scatter()
    weights = _figures(flat.weights)
    loss = task.loss(task.model, to_device(batch, flat.device))
    loss.backward()
    value, gradient = _figures(loss.detach().reshape(1)), _figures(flat.gather())
    return loss_part(len(samples), flat.device.type, weights, value, gradient)


def _figures(vector: Tensor) -> list[float]:
    """Those of (N,), of which each element counts: its rows are added up with factors that look like chance."""
    rows = vector.numel() // ROW
    folded = vector.float()
    if rows > 1:
        shares = torch.as_tensor(factors(rows)[0], dtype=torch.float32, device=vector.device)
        folded = shares @ folded[: rows * ROW].view(rows, ROW)
        rest = vector[rows * ROW :]
        folded[: rest.numel()] += rest
    return describe("", folded.cpu().numpy()).floats
