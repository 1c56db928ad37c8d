"""Contenders in turn, round by round, so that what the machine does meanwhile hits them all alike.

They stay started between their turns as far as memory allows, stopped (some spin while they wait: torch RPC over shared
memory takes two cores for nothing); else each is started anew for every round. The order rotates from round to round.
Who fails is out, with the reason on the page; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from asgd_bench.contender import Failed
from asgd_bench.results import Line, Sample

MEMORY_SHARE = 0.8
"""Of the memory that is available: what started contenders may hold together."""

Progress = Callable[[str], None]


class Entrant(Protocol):
    """What a race needs of a contender."""

    @property
    def name(self) -> str: ...

    @property
    def memory_bytes(self) -> int: ...

    def start(self) -> None: ...

    def measure(self, seconds: float) -> Sample: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def stop(self) -> None: ...


def stay_started(entrants: Sequence[Entrant], available: int) -> bool:
    """Whether all can be kept started at once in `available` bytes."""
    return sum(entrant.memory_bytes for entrant in entrants) <= MEMORY_SHARE * available


class Race:
    """Measures `entrants` for `seconds` each in every round."""

    def __init__(
        self, entrants: Sequence[Entrant], seconds: float, *, stay: bool, progress: Progress
    ) -> None:
        self._entrants, self._seconds = list(entrants), seconds
        self._stay, self._progress = stay, progress
        self._samples: dict[str, list[Sample | None]] = {one.name: [] for one in entrants}
        self._failures: dict[str, str] = {}

    def run(self, rounds: Iterable[int]) -> list[Line]:
        """The lines in the entrants' order; `rounds` are numbers from 0 on."""
        try:
            if self._stay:
                for entrant in self._entrants:
                    self._progress(f"starting {entrant.name}")
                    self._try(entrant, entrant.start)
                    entrant.freeze()
            for number in rounds:
                shift = number % max(1, len(self._entrants))
                for entrant in self._entrants[shift:] + self._entrants[:shift]:
                    self._turn(entrant, number)
        finally:
            for entrant in self._entrants:
                entrant.stop()
        return [
            Line(one.name, self._samples[one.name], self._failures.get(one.name, ""))
            for one in self._entrants
        ]

    def _turn(self, entrant: Entrant, number: int) -> None:
        samples = self._samples[entrant.name]
        samples.append(None)
        if entrant.name in self._failures:
            return
        self._progress(f"round {number + 1}: {entrant.name}")

        def measure() -> None:
            if self._stay:
                entrant.thaw()
            else:
                entrant.start()
            samples[-1] = entrant.measure(self._seconds)

        self._try(entrant, measure)
        if self._stay:
            entrant.freeze()
        else:
            entrant.stop()

    def _try(self, entrant: Entrant, action: Callable[[], None]) -> None:
        try:
            action()
        except Failed as error:
            self._failures[entrant.name] = str(error)
            entrant.stop()
