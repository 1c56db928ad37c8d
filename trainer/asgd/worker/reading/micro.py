"""Cuts batches into micro-batches by their samples.

A tensor (or NumPy array) has a row for each sample, a list an element for each; what has neither cannot be cut. A list
of two things in a batch of two samples may be either: batches of other numbers of samples show which.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import numpy as np
import torch
from torch.nn.utils.rnn import PackedSequence, pack_sequence, unpack_sequence

from asgd.errors import UserError
from asgd.worker.reading.nested import arrays, children, counts, map_children, together

Another = Callable[[int], tuple[Any, int] | None]
"""A batch of the same data with another number of samples than the told one, and its number; None: there is none."""


class MicroBatches:
    """Makes at most `parts` of each batch. `whole`: samples of a full batch; 0: as many as the largest so far."""

    def __init__(self, parts: int, whole: int = 0, another: Another | None = None) -> None:
        self._parts, self._most, self._another = parts, whole, another
        self._seen: set[int] = set()
        """Numbers of samples of which a batch was looked at."""
        self._other: set[str] = set()
        """What has shown another number of rows or elements than its batch has samples."""

    def of(self, batch: Any, samples: int) -> list[tuple[Any, float]]:
        """Cuts a batch of `samples`; each micro-batch comes with its share of them (the shares sum to 1).

        The samples are dealt out as evenly as can be; tensors become views. The gradient of the batch's mean loss is
        the sum of share x gradient. A tensor without dimension or with one row, text and other single values go whole
        into every micro-batch. Raises UserError for what has another number of rows or elements.
        """
        if self._parts <= 1:
            return [(batch, 1.0)]
        self._look(batch, samples)
        parts = self._count(samples)
        if parts <= 1:
            return [(batch, 1.0)]
        if len(self._seen) == 1 and self._another:
            if other := self._another(samples):
                self._look(*other)
            self._another = None
        bounds = [samples * part // parts for part in range(parts + 1)]
        return [
            (self._cut(batch, _Cut(samples, start, stop), "batch"), (stop - start) / samples)
            for start, stop in pairwise(bounds)
        ]

    def _count(self, samples: int) -> int:
        """A short batch gets fewer parts, none larger and none of one sample unless a full batch has such.

        NB: batch norm can make nothing of one sample.
        """
        self._most = max(self._most, samples)
        parts = min(self._parts, samples)
        if samples < self._most:
            largest = -(-self._most // self._parts)
            least = min(2, max(1, self._most // self._parts))
            parts = min(parts, -(-samples // largest), max(1, samples // least))
        return parts

    def _look(self, batch: Any, samples: int) -> None:
        if samples not in self._seen:
            self._seen.add(samples)
            self._note(batch, samples, "batch")

    def _note(self, value: Any, samples: int, where: str) -> None:
        length = _length(value)
        if length is not None and length != samples:
            self._other.add(where)
        for name, child in children(value):
            self._note(child, samples, f"{where}{name}")

    def _cut(self, value: Any, cut: _Cut, where: str) -> Any:
        if isinstance(value, PackedSequence):
            return _cut_packed(value, cut, where)
        if isinstance(value, (torch.Tensor, np.ndarray)):
            if not value.ndim or (value.shape[0] == 1 and cut.samples > 1):
                return value
            if value.shape[0] != cut.samples:
                raise _uncut(where, f"{value.shape[0]} rows", cut)
            if where in self._other:
                raise _uncut(where, f"{value.shape[0]} rows in batches of any size", cut)
            return value[cut.part]
        if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
            return self._cut_list(value, cut, where)
        return self._each(value, cut, where)

    def _each(self, value: Any, cut: _Cut, where: str) -> Any:
        return map_children(value, lambda child, name: self._cut(child, cut, f"{where}{name}"))

    def _cut_list(self, value: list[Any] | tuple[Any, ...], cut: _Cut, where: str) -> Any:
        """A list is one of samples, or holds several things of each, as `[x, y]` does; a tuple outside does so."""
        if where == "batch" and isinstance(value, tuple):
            return self._each(value, cut, where)
        plain, own = not arrays(value), len(value) == cut.samples
        if plain and (not own or where in self._other):
            return value
        found = counts(value, outer=where == "batch")
        if not found or cut.samples not in found:
            raise _uncut(where, f"{len(value)} elements", cut)
        apart = together(value)
        inner = apart is not None and cut.samples in apart
        several, alone = where in self._other, len(self._seen) == 1
        if own and several and not inner:
            raise _uncut(where, f"{len(value)} elements in batches of any size", cut)
        if own and inner and alone and where != "batch":
            raise _unknown(where, cut)
        # NB: a list outside, where nothing else is known, is PyTorch's collate of samples that are tuples.
        several = several or (alone and inner)
        return value[cut.part] if own and not several else self._each(value, cut, where)


@dataclasses.dataclass(frozen=True)
class _Cut:
    """Samples start..stop-1 of a batch of `samples`."""

    samples: int
    start: int
    stop: int

    @property
    def part(self) -> slice:
        return slice(self.start, self.stop)


def micro_batches(batch: Any, parts: int, samples: int) -> list[tuple[Any, float]]:
    """One batch alone, of which no other is known."""
    return MicroBatches(parts).of(batch, samples)


def _length(value: Any) -> int | None:
    """Rows or elements that may stand for samples; None where one goes whole into every micro-batch."""
    if isinstance(value, (torch.Tensor, np.ndarray)):
        return int(value.shape[0]) if value.ndim and value.shape[0] != 1 else None
    if isinstance(value, (list, tuple)) and not hasattr(value, "_fields"):
        return len(value)
    return None


def _cut_packed(value: PackedSequence, cut: _Cut, where: str) -> PackedSequence:
    if int(value.batch_sizes[0]) != cut.samples:
        raise _uncut(where, f"{int(value.batch_sizes[0])} sequences", cut)
    return pack_sequence(unpack_sequence(value)[cut.part], enforce_sorted=False)


def _uncut(where: str, found: str, cut: _Cut) -> UserError:
    return UserError(
        f"Task.accumulate: {where} has {found} and the batch {cut.samples} samples, so it can't be cut into"
        " micro-batches; give a row or an element for each sample, or set Task.accumulate to 1"
    )


def _unknown(where: str, cut: _Cut) -> UserError:
    return UserError(
        f"Task.accumulate: {where} has {cut.samples} elements and the first batch {cut.samples} samples, so nobody can"
        " know whether it holds one for each sample; allowed: a dict or a named tuple of several things, another"
        " spec.batchSize, or Task.accumulate: 1"
    )
