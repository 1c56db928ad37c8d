"""Batches as users make them: tensors, lists, strings and packed sequences inside dicts, tuples and dataclasses.

Asked of such a batch is how many samples it may hold: a tensor (or NumPy array) has a row for each sample, a list an
element for each. Cutting it is left to `micro.py`, moving it to a device to `accelerator.py`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence

from asgd.errors import UserError

Array = torch.Tensor | np.ndarray[Any, Any]


def count_samples(batch: Any, usual: int | None = None) -> int:
    """How many samples a stream's batch holds: what its tensors' rows and its lists' elements agree on.

    Where they agree on several numbers, the `usual` one of its loader is taken, if it is among them; else a list inside
    counts by its elements and the batch itself by what it holds (`[x, y]` is what PyTorch's collate gives). Raises
    UserError when the batch holds neither tensor nor list.
    """
    found = counts(batch, outer=True)
    if found:
        return usual if usual in found else found[0]
    rows = [int(array.shape[0]) for array in arrays(batch)]
    if rows:
        return rows[0]
    raise UserError(
        f"Task.data gives batches of type {type(batch).__name__} without a tensor of one dimension or more, "
        "so their samples cannot be counted; give tensors, or dicts, lists, tuples or dataclasses of them"
    )


# -- how many samples something may hold -------------------------------------------------------------


def counts(value: Any, outer: bool = False) -> list[int] | None:
    """Numbers of samples that `value` may be of, the likeliest first; None: it may be of any."""
    if isinstance(value, PackedSequence):
        return [int(value.batch_sizes[0])]
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return [int(value.shape[0])] if value.ndim else None
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        own, inside = [len(value)], together(value)
        if outer and isinstance(value, tuple):
            return inside
        if inside is None:
            return own if value else None
        return [*inside, *own] if outer else [*own, *inside]
    return together(value)


def together(value: Any) -> list[int] | None:
    """What all that `value` holds agrees on; what has one row or element may belong to any number of samples."""
    agreed: list[int] | None = None
    for _, child in children(value):
        possible = counts(child)
        if possible is None or possible == [1]:
            continue
        agreed = possible if agreed is None else [count for count in agreed if count in possible]
    return agreed


def arrays(value: Any) -> Sequence[Array]:
    """All tensors and arrays in it that have a dimension."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return [value] if value.ndim else []
    return [array for _, child in children(value) for array in arrays(child)]


def children(value: Any) -> list[tuple[str, Any]]:
    """What `value` holds, each with how it is reached."""
    if isinstance(value, Mapping):
        return [(f"[{key!r}]", child) for key, child in value.items()]
    if isinstance(value, (list, tuple)):
        return [(f"[{number}]", child) for number, child in enumerate(value)]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(f".{field.name}", getattr(value, field.name)) for field in dataclasses.fields(value)]
    return []


# -- the same with something else inside -------------------------------------------------------------


def map_arrays(value: Any, change: Callable[[Array], Array]) -> Any:
    """The batch with `change` of each tensor and array in its place."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return change(value)
    if isinstance(value, PackedSequence):
        # NB: torch wants the sizes on the CPU, wherever the rest is.
        orders = (
            None if order is None else torch.as_tensor(change(order))
            for order in (value.sorted_indices, value.unsorted_indices)
        )
        return PackedSequence(torch.as_tensor(change(value.data)), value.batch_sizes, *orders)
    return map_children(value, lambda child, _: map_arrays(child, change))


def map_children(value: Any, change: Callable[[Any, str], Any]) -> Any:
    within = [change(child, name) for name, child in children(value)]
    if isinstance(value, Mapping):
        # NB: a shallow copy keeps the user's own mapping type (transformers' BatchEncoding has attribute
        # access).
        changed: Any = copy.copy(value)
        for key, child in zip(value, within, strict=True):
            changed[key] = child
        return changed
    if isinstance(value, (list, tuple)):
        return type(value)(*within) if hasattr(value, "_fields") else type(value)(within)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(value, **dict(zip(names, within, strict=True)))
    return value
