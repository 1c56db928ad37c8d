"""Keeps kopf's start linear in the number of objects.

At its start kopf has a task wait for each object until all are in the indices, and wakes all of them whenever one is:
with 4,000 objects these are millions of wake-ups, minutes of CPU. What they wait for is whether *all* are there, so
they are woken only when that has changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kopf._cogs.aiokits.aiotoggles import Toggle, ToggleSet


async def _make(self: Any, value: bool = False, /, *, name: str | None = None) -> Toggle:
    toggle = Toggle(value, name=name, condition=self._condition)
    async with self._condition:
        before = self.is_on()
        self._toggles.add(toggle)
        _notify(self, before)
    return toggle


async def _drop_one(self: Any, toggle: Toggle) -> None:
    await _drop(self, (toggle,))


async def _drop(self: Any, toggles: Iterable[Toggle]) -> None:
    async with self._condition:
        before = self.is_on()
        self._toggles.difference_update(toggles)
        _notify(self, before)


def _notify(self: Any, before: bool) -> None:
    if self.is_on() != before:
        self._condition.notify_all()


def install() -> None:
    """Before kopf runs. Safe to repeat."""
    for name, method in (("make_toggle", _make), ("drop_toggle", _drop_one), ("drop_toggles", _drop)):
        setattr(ToggleSet, name, method)
