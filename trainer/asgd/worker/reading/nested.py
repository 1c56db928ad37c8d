"""Batches as users make them: tensors inside dicts, lists, tuples and dataclasses, to any depth.

Two things are asked of such a batch: how many samples it holds, and to be cut into micro-batches. Both go by
the first dimension of tensors (NumPy arrays count), which is what PyTorch's collate gives. Moving batches to
a device is left to `accelerator.py`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from asgd.errors import UserError

Array = torch.Tensor | np.ndarray[Any, Any]


def count_samples(batch: Any) -> int:
    """The first dimension of the first tensor found, depth first; UserError when the batch holds no such
    tensor."""
    for array in _arrays(batch):
        return int(array.shape[0])
    raise UserError(
        f"Task.data gives batches of type {type(batch).__name__} without a tensor of one dimension or more, "
        "so their samples cannot be counted; give tensors, or dicts, lists, tuples or dataclasses of them"
    )


def micro_batches(batch: Any, parts: int) -> list[tuple[Any, float]]:
    """Cuts a batch into at most `parts` micro-batches, each with its share of the samples (the shares sum to
    1).

    Tensors with as many rows as the batch has samples are cut along that dimension into views, as evenly as
    can be; all else goes whole into every micro-batch. The gradient of the batch's mean loss is the sum of
    share x gradient. A batch with fewer samples than `parts` gives one micro-batch a sample. UserError when
    no tensor is found.
    """
    if parts == 1:
        return [(batch, 1.0)]
    samples = count_samples(batch)
    parts = min(parts, samples)
    bounds = [samples * part // parts for part in range(parts + 1)]
    return [
        (map_arrays(batch, _Rows(samples, start, stop)), (stop - start) / samples)
        for start, stop in pairwise(bounds)
    ]


@dataclasses.dataclass(frozen=True)
class _Rows:
    """Cuts rows start..stop-1 out of every array that has one row a sample."""

    samples: int
    start: int
    stop: int

    def __call__(self, array: Array, /) -> Array:
        return array[self.start : self.stop] if array.ndim and array.shape[0] == self.samples else array


def _arrays(value: Any) -> Iterator[Array]:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if value.ndim:
            yield value
    else:
        for child in _children(value):
            yield from _arrays(child)


def _children(value: Any) -> Sequence[Any]:
    if isinstance(value, Mapping):
        return list(value.values())
    if isinstance(value, (list, tuple)):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [getattr(value, field.name) for field in dataclasses.fields(value)]
    return ()


def map_arrays(value: Any, change: Callable[[Array], Array]) -> Any:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return change(value)
    if isinstance(value, Mapping):
        # NB: a shallow copy keeps the user's own mapping type (transformers' BatchEncoding has attribute
        # access).
        changed: Any = copy.copy(value)
        for key, child in value.items():
            changed[key] = map_arrays(child, change)
        return changed
    if isinstance(value, (list, tuple)):
        children = [map_arrays(child, change) for child in value]
        return type(value)(*children) if hasattr(value, "_fields") else type(value)(children)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {f.name: map_arrays(getattr(value, f.name), change) for f in dataclasses.fields(value)}
        return dataclasses.replace(value, **fields)
    return value
