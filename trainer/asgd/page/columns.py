"""Rows of numbers over hours in bounded memory: when there are too many, every other one goes. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MOST = 1600
"""Rows that are kept; between half of it and all of it there are."""


class Columns:
    """Columns by name, `t` among them. A name that comes late has had no value before."""

    def __init__(self) -> None:
        self.values: dict[str, list[float | None]] = {"t": []}
        self._stride, self._count = 1, 0
        self._newest: dict[str, float | None] = {}

    def add(self, row: Mapping[str, float | None]) -> None:
        """One more row, with `t` above that of the row before."""
        self._newest = dict(row)
        if self._count % self._stride == 0:
            self._keep(self._newest)
        self._count += 1

    def _keep(self, row: Mapping[str, float | None]) -> None:
        length = len(self.values["t"])
        for name in row.keys() - self.values.keys():
            self.values[name] = [None] * length
        for name, column in self.values.items():
            column.append(row.get(name))
        if length + 1 >= MOST:
            self.values = {name: column[::2] for name, column in self.values.items()}
            self._stride *= 2

    def told(self) -> dict[str, list[float | None]]:
        """All columns of equal length, the newest row last whether it is kept or not."""
        columns = {name: list(column) for name, column in self.values.items()}
        newest = self._newest.get("t")
        if newest is not None and columns["t"] and newest != columns["t"][-1]:
            for name in self._newest.keys() - columns.keys():
                columns[name] = [None] * len(columns["t"])
            for name, column in columns.items():
                column.append(self._newest.get(name))
        return columns

    def load(self, told: Mapping[str, list[Any]]) -> None:
        """Goes on after what `told` returned."""
        self.values = {name: list(column) for name, column in told.items()}
        self._count = len(self.values.setdefault("t", []))
        while len(self.values["t"]) >= MOST:
            self.values = {name: column[::2] for name, column in self.values.items()}
            self._stride *= 2
