"""Reads what all processes of a job must agree on: a few samples, frozen parameters and buffers.

Samples are read under one fixed seed that has nothing to do with the worker, twice each: data that differ then are
random by themselves, and nobody's are compared. Reading stops after `READ_SECONDS`; all processes go the same way
through the data, so that the first few are compared in any case. Afterwards random numbers are where they were.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.parameter import UninitializedBuffer, UninitializedParameter

from asgd.host.say import say
from asgd.task import Task
from asgd.wire import agreement
from asgd.wire.agreement import Part, describe, pack, unlike
from asgd.worker.device.flat import plain
from asgd.worker.device.randomness import random_state, seed_everywhere, set_random_state
from asgd.worker.reading.data import dataset_size

SAMPLES = 8
READ_SECONDS = 0.4
READ_SEED = 0x5EED


@dataclass(frozen=True, slots=True)
class Looked:
    """What a process has read of its task."""

    samples: list[Part]
    raw: list[Any]
    """The samples themselves, for the loss (`first_loss.py`)."""
    tensors: list[Part]

    def digest(self, loss: Sequence[Part] = ()) -> bytes:
        """As `Hello.digest`."""
        return pack([*self.samples, *loss, *self.tensors])


def look(task: Task) -> Looked:
    """To be called right after the task was built, before anything trains. Of a stream no samples are read."""
    size = dataset_size(task)
    found, raw = ([], []) if size is None else _looked(task.data, range(size))
    return Looked(found, raw, list(tensors(task.model)))


def digest_of_model(model: nn.Module) -> bytes:
    """The same of a script's model; its data are told when its loop begins (`own/comparing.py`)."""
    return pack(list(tensors(model)), SAMPLES)


# -- data ------------------------------------------------------------------------------------------


def samples_of(data: Any, indices: Sequence[int]) -> list[Part]:
    """A few of `data[indices[place]]`, called by their places. What can't be read is told later by who trains on it."""
    return _looked(data, indices)[0]


def _looked(data: Any, indices: Sequence[int]) -> tuple[list[Part], list[Any]]:
    before = random_state()
    try:
        return _read(data, indices)
    except Exception:
        # Users' data may raise anything.
        return [], []
    finally:
        set_random_state(before)


def spread(size: int, count: int) -> list[int]:
    """Up to `count` indices below `size`: both ends, then the middles of what is between."""
    ends = np.linspace(0, size - 1, count).round().astype(int).tolist()
    order = [0, count - 1, *(i for step in (4, 2, 1) for i in range(step, count - 1, step))]
    return list(dict.fromkeys(ends[place] for place in order))


def _read(data: Any, indices: Sequence[int]) -> tuple[list[Part], list[Any]]:
    found: list[Part] = []
    raw: list[Any] = []
    places = spread(len(indices), SAMPLES)
    first, _ = _sample(data, indices, places[0])  # opens what is opened late
    began = time.monotonic()
    for place in places:
        one = _sample(data, indices, place)[0] if found else first
        again, value = _sample(data, indices, place)
        if how := unlike(one, again):
            say(
                f"the data are random by themselves: sample {place}, read twice under one seed, differs {how};"
                " samples are not compared with those of other processes"
            )
            return [], []
        found.append(one)
        raw.append(value)
        spent = time.monotonic() - began
        if spent * (len(found) + 1) / len(found) > READ_SECONDS:
            break
    return found, raw


def _sample(data: Any, indices: Sequence[int], place: int) -> tuple[Part, Any]:
    index = indices[place]
    seed_everywhere(READ_SEED)  # NB: not devices, which nobody could put back
    batched = getattr(data, "__getitems__", None)
    value = batched([index])[0] if batched else data[index]
    return describe(f"sample {place}", value, _array), value


# -- tensors ---------------------------------------------------------------------------------------


def tensors(model: nn.Module) -> Iterator[Part]:
    """Frozen parameters and buffers, by name.

    NB: running statistics of batch norm that trains are each worker's own, also those that a script has loaded.
    """
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            yield describe(f"parameter {plain(name)}", parameter, _array)
    running = {
        id(buffer)
        for module in model.modules()
        if isinstance(module, _NormBase) and module.training
        for buffer in module.buffers(recurse=False)
    }
    for name, buffer in model.named_buffers():
        if id(buffer) not in running:
            yield describe(f"buffer {plain(name)}", buffer, _array)


def _array(value: Any) -> tuple[str, agreement.AnyArray] | None:
    if not isinstance(value, Tensor):
        # Images of PIL, among others.
        of_image = hasattr(value, "__array_interface__") and not isinstance(value, np.ndarray | np.generic)
        return agreement.numpy_array(np.asarray(value) if of_image else value)
    kind = f"{value.dtype} {list(value.shape)}"
    if isinstance(value, UninitializedParameter | UninitializedBuffer) or value.device.type == "meta":
        return str(value.dtype), np.empty(0, np.int8)
    try:
        return kind, _values(value.detach())
    except (RuntimeError, TypeError, NotImplementedError):
        return kind, np.empty(0, np.int8)  # a layout of its own: sparse, quantized


def _values(tensor: Tensor) -> agreement.AnyArray:
    """Not all of a large one: its elements evenly spread."""
    if tensor.is_complex():
        tensor = torch.view_as_real(tensor.resolve_conj())
    floats = tensor.is_floating_point()
    flat, most = tensor.reshape(-1), agreement.FLOATS_MOST if floats else agreement.INTEGERS_MOST
    some = flat[:: -(-flat.numel() // most)] if flat.numel() > most else flat
    if floats and some.dtype not in (torch.float32, torch.float64):
        some = some.to(torch.float32)
    array: agreement.AnyArray = some.to("cpu").numpy()
    return array
