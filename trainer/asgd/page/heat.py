"""Mean staleness of each worker's pushes over time: a bounded number of columns, wider as the run gets longer. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

COLUMNS_MOST = 240
FIRST_SECONDS = 2
_LOWEST, _STEP = 35, 8
"""Code of the letter for staleness 0, and letters for each doubling of staleness + 1."""
_AVOIDED = {ord("\\"): "]"}
NOTHING = " "


def letter(staleness: float) -> str:
    """A letter for a mean staleness, on a logarithmic scale; see `value`."""
    code = _LOWEST + min(126 - _LOWEST, round(_STEP * math.log2(1 + max(0.0, staleness))))
    return chr(code).translate(_AVOIDED)


def value(code: str) -> float | None:
    """About the staleness that a letter stands for; None where there was no push."""
    return None if code == NOTHING else 2 ** ((ord(code) - _LOWEST) / _STEP) - 1


class Heat:
    """[sum of staleness, pushes] by worker and column."""

    def __init__(self) -> None:
        self.seconds = FIRST_SECONDS
        """Of a column."""
        self.columns = 0
        self._cells: dict[int, dict[int, list[float]]] = {}
        self._known: dict[int, tuple[int, int]] = {}

    def tell(self, worker: int, pushes: int, total: int, now: float) -> float | None:
        """A worker's pushes and the sum of their staleness so far; returns the mean since it was told last."""
        before = self._known.get(worker, (0, 0))
        # NB: a shard 0 that was started again counts anew.
        before = (0, 0) if pushes < before[0] or total < before[1] else before
        self._known[worker] = pushes, total
        new, more = pushes - before[0], total - before[1]
        column = int(now / self.seconds)
        if column >= COLUMNS_MOST:
            self._widen()
            column = int(now / self.seconds)
        self.columns = max(self.columns, column + 1)
        if not new:
            return None
        cell = self._cells.setdefault(worker, {}).setdefault(column, [0.0, 0.0])
        cell[0] += more
        cell[1] += new
        return more / new

    def _widen(self) -> None:
        self.seconds *= 2
        self.columns = (self.columns + 1) // 2
        for worker, cells in self._cells.items():
            wider: dict[int, list[float]] = {}
            for column, (total, count) in cells.items():
                cell = wider.setdefault(column // 2, [0.0, 0.0])
                cell[0] += total
                cell[1] += count
            self._cells[worker] = wider

    def newest(self) -> dict[str, Any]:
        """The column under way: {worker: letter}."""
        column = self.columns - 1
        letters = {str(worker): self._letter(worker, column) for worker in sorted(self._cells)}
        return {"seconds": self.seconds, "column": column, "letters": letters}

    def told(self) -> dict[str, Any]:
        """For a page or a file."""
        rows = {
            str(worker): "".join(self._letter(worker, column) for column in range(self.columns))
            for worker in sorted(self._cells)
        }
        return {"seconds": self.seconds, "columns": self.columns, "rows": rows}

    def load(self, told: Mapping[str, Any]) -> None:
        """Goes on after what `told` returned; a column of before counts as one push."""
        self.seconds, self.columns = int(told["seconds"]), int(told["columns"])
        for worker, row in told["rows"].items():
            cells = {column: value(code) for column, code in enumerate(row)}
            self._cells[int(worker)] = {
                column: [mean, 1.0] for column, mean in cells.items() if mean is not None
            }

    def _letter(self, worker: int, column: int) -> str:
        cell = self._cells[worker].get(column)
        return letter(cell[0] / cell[1]) if cell else NOTHING
