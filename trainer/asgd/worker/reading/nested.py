"""Batches as users make them: tensors, lists, strings and packed sequences inside dicts, tuples and dataclasses.

Two things are asked of such a batch: how many samples it holds, and to be cut into micro-batches by its samples. A
tensor (or NumPy array) has a row for each sample, a list an element for each; what has neither cannot be cut. Moving
batches to a device is left to `accelerator.py`.
"""

from __future__ import annotations

import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from asgd.errors import UserError

Array = torch.Tensor | np.ndarray[Any, Any]


def count_samples(batch: Any) -> int:
    """How many samples a stream's batch holds: what its tensors' rows and its lists' elements agree on.

    Where they agree on several numbers, a list inside counts by its elements and the batch itself by what it holds
    (`[x, y]` is what PyTorch's collate gives). Raises UserError when the batch holds neither tensor nor list.
    """
    found = _counts(batch, outer=True)
    if found:
        return found[0]
    rows = [int(array.shape[0]) for array in _arrays(batch)]
    if rows:
        return rows[0]
    raise UserError(
        f"Task.data gives batches of type {type(batch).__name__} without a tensor of one dimension or more, "
        "so their samples cannot be counted; give tensors, or dicts, lists, tuples or dataclasses of them"
    )


def micro_batches(batch: Any, parts: int, samples: int) -> list[tuple[Any, float]]:
    """Cuts a batch of `samples` into at most `parts` micro-batches, each with its share of them (the shares sum to 1).

    The samples are dealt out as evenly as can be; tensors become views. The gradient of the batch's mean loss is the
    sum of share x gradient. A batch with fewer samples than `parts` gives one micro-batch a sample. A tensor without
    dimension or with one row, text and other single values go whole into every micro-batch. Raises UserError for what
    has another number of rows or elements.
    """
    parts = min(parts, samples)
    if parts <= 1:
        return [(batch, 1.0)]
    bounds = [samples * part // parts for part in range(parts + 1)]
    return [
        (_cut(batch, _Cut(samples, start, stop), "batch"), (stop - start) / samples)
        for start, stop in pairwise(bounds)
    ]


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Samples start..stop-1 of a batch of `samples`."""

    samples: int
    start: int
    stop: int

    @property
    def part(self) -> slice:
        return slice(self.start, self.stop)


def _cut(value: Any, cut: _Cut, where: str) -> Any:
    if isinstance(value, PackedSequence):
        return _cut_packed(value, cut, where)
    if isinstance(value, (torch.Tensor, np.ndarray)):
        if not value.ndim or (value.shape[0] == 1 and cut.samples > 1):
            return value
        if value.shape[0] != cut.samples:
            raise _uncut(where, f"{value.shape[0]} rows", cut)
        return value[cut.part]
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return _cut_list(value, cut, where)
    return _map_children(value, lambda child, name: _cut(child, cut, f"{where}{name}"))


def _cut_list(value: list[Any] | tuple[Any, ...], cut: _Cut, where: str) -> Any:
    """A list is one of samples, or holds several things of each sample, as `[x, y]` does; a tuple outside does so."""
    if where == "batch" and isinstance(value, tuple):
        return _map_children(value, lambda child, name: _cut(child, cut, f"{where}{name}"))
    counts = _counts(value, outer=where == "batch")
    if not counts or cut.samples not in counts:
        if not _arrays(value) and len(value) != cut.samples:
            return value
        raise _uncut(where, f"{len(value)} elements", cut)
    apart = _together(value)
    inner = apart is not None and cut.samples in apart
    if len(value) == cut.samples and (where != "batch" or not inner):
        return value[cut.part]
    return _map_children(value, lambda child, name: _cut(child, cut, f"{where}{name}"))


def _cut_packed(value: PackedSequence, cut: _Cut, where: str) -> PackedSequence:
    if int(value.batch_sizes[0]) != cut.samples:
        raise _uncut(where, f"{int(value.batch_sizes[0])} sequences", cut)
    return pack_sequence(unpack_sequence(value)[cut.part], enforce_sorted=False)


def _uncut(where: str, found: str, cut: _Cut) -> UserError:
    return UserError(
        f"Task.accumulate: {where} has {found} and the batch {cut.samples} samples, so it can't be cut into"
        " micro-batches; give a row or an element for each sample, or set Task.accumulate to 1"
    )


# -- how many samples something may hold -------------------------------------------------------------


def _counts(value: Any, outer: bool = False) -> list[int] | None:
    """Numbers of samples that `value` may be of, the likeliest first; None: it may be of any."""
    if isinstance(value, PackedSequence):
        return [int(value.batch_sizes[0])]
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return [int(value.shape[0])] if value.ndim else None
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        own, inside = [len(value)], _together(value)
        if outer and isinstance(value, tuple):
            return inside
        if inside is None:
            return own if value else None
        return [*inside, *own] if outer else [*own, *inside]
    return _together(value)


def _together(value: Any) -> list[int] | None:
    """What all that `value` holds agrees on; what has one row or element may belong to any number of samples."""
    agreed: list[int] | None = None
    for _, child in _children(value):
        counts = _counts(child)
        if counts is None or counts == [1]:
            continue
        agreed = counts if agreed is None else [count for count in agreed if count in counts]
    return agreed


def _arrays(value: Any) -> Sequence[Array]:
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return [value] if value.ndim else []
    return [array for _, child in _children(value) for array in _arrays(child)]


def _children(value: Any) -> list[tuple[str, Any]]:
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
    return _map_children(value, lambda child, _: map_arrays(child, change))


def _map_children(value: Any, change: Callable[[Any, str], Any]) -> Any:
    children = [change(child, name) for name, child in _children(value)]
    if isinstance(value, Mapping):
        # NB: a shallow copy keeps the user's own mapping type (transformers' BatchEncoding has attribute
        # access).
        changed: Any = copy.copy(value)
        for key, child in zip(value, children, strict=True):
            changed[key] = child
        return changed
    if isinstance(value, (list, tuple)):
        return type(value)(*children) if hasattr(value, "_fields") else type(value)(children)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        names = [field.name for field in dataclasses.fields(value)]
        return dataclasses.replace(value, **dict(zip(names, children, strict=True)))
    return value
