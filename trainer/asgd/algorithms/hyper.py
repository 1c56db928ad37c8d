"""Which hyper-parameters hold for which elements of the flat vector: `spec.optimizer`, and its groups where it has any.

Both halves of a strategy have one of these, and ask it for the pieces of a run of elements. Chunks and shards end
anywhere, so a piece begins and ends where the run or a group's parameters do. Without groups all is one piece, and
nobody needs the model's layout.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from asgd.errors import UserError
from asgd.spec.groups import assigned, kinds, multiple
from asgd.spec.types import Optimizer


@dataclass(frozen=True, slots=True)
class Piece:
    """Elements that have the same hyper-parameters."""

    span: slice
    """Within what was asked for."""
    own: Optimizer
    """What holds for them; it has no groups."""
    rate: float
    """Their learning rate as a multiple of the job's."""


@dataclass(frozen=True, slots=True)
class _Segment:
    stop: int
    own: Optimizer
    rate: float


class HyperParameters:
    """Those of the job's optimizer; with groups `lay_out` is to be called before `over`."""

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self.kinds = kinds(optimizer)
        """The optimizer's own, then each group's."""
        self._whole = Piece(slice(None), self.kinds[0], 1.0)
        self._runs: list[tuple[int, int]] = []
        """(where it stops, group) of each run of parameters of one group, in the vector's order."""
        self._segments: list[_Segment] = []
        """The same where neighbours whose figures are equal are one."""
        self._stops: list[int] = []

    @property
    def grouped(self) -> bool:
        """Whether they may differ from element to element."""
        return bool(self.optimizer.groups)

    @property
    def laid_out(self) -> bool:
        """Whether it is known what holds where."""
        return not self.grouped or bool(self._segments)

    def lay_out(self, tensors: Iterable[tuple[str, int]]) -> None:
        """The model has `tensors`, (name, elements) in flat order. Raises UserError where a group has none of them."""
        if not self.grouped:
            return
        self._runs, self._segments = [], []
        named, stop = list(tensors), 0
        for group, (_, size) in zip(
            assigned(self.optimizer, [name for name, _ in named]), named, strict=True
        ):
            stop += size
            if self._runs and self._runs[-1][1] == group:
                self._runs.pop()
            self._runs.append((stop, group))
        self._cut()

    def _cut(self) -> None:
        for stop, group in self._runs:
            segment = _Segment(stop, self.kinds[1 + group], multiple(self.optimizer, group))
            before = self._segments[-1] if self._segments else None
            if before and (before.own, before.rate) == (segment.own, segment.rate):
                self._segments.pop()
            self._segments.append(segment)
        self._stops = [segment.stop for segment in self._segments]

    def moved(self, optimizer: Optimizer) -> HyperParameters:
        """The same groups over the same elements, with the figures of `optimizer`."""
        new = HyperParameters(optimizer)
        new._runs = self._runs
        new._cut()
        return new

    def over(self, start: int, size: int) -> Sequence[Piece]:
        """The pieces of the elements [start, start + size) of the flat vector, in their order."""
        if not self.grouped:
            return (self._whole,)
        if not self._segments:
            raise UserError("spec.optimizer.groups: nobody has told the names of the model's parameters")
        pieces, at, stop = [], start, start + size
        for segment in self._segments[bisect_right(self._stops, start) :]:
            end = min(segment.stop, stop)
            pieces.append(Piece(slice(at - start, end - start), segment.own, segment.rate))
            at = end
            if at == stop:
                break
        return pieces
