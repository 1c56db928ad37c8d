"""Systems in turn, round by round, so that what the machine does meanwhile hits them all alike.

They stay started between their turns as far as memory allows, stopped (some spin while they wait: torch RPC over shared
memory takes two cores for nothing); else each is started anew for every round. The order rotates from round to round.
Who fails is out, with the reason on the page; the others go on.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from asgd_bench.results import Line, Sample
from asgd_bench.system import Failed

MEMORY_SHARE = 0.8
"""Of the memory that is available: what started systems may hold together."""

Progress = Callable[[str], None]


class Measurable(Protocol):
    """What a measurement needs of a system."""

    @property
    def name(self) -> str: ...

    @property
    def memory_bytes(self) -> int: ...

    def start(self) -> None: ...

    def measure(self, seconds: float) -> Sample: ...

    def freeze(self) -> None: ...

    def thaw(self) -> None: ...

    def stop(self) -> None: ...


def stay_started(systems: Sequence[Measurable], available: int) -> bool:
    """Whether all can be kept started at once in `available` bytes."""
    return sum(system.memory_bytes for system in systems) <= MEMORY_SHARE * available


class Measurement:
    """Measures `systems` for `seconds` each in every round."""

    def __init__(
        self, systems: Sequence[Measurable], seconds: float, *, stay: bool, progress: Progress
    ) -> None:
        self._systems, self._seconds = list(systems), seconds
        self._stay, self._progress = stay, progress
        self._samples: dict[str, list[Sample | None]] = {one.name: [] for one in systems}
        self._failures: dict[str, str] = {}

    def run(self, rounds: Iterable[int]) -> list[Line]:
        """The lines in the systems' order; `rounds` are numbers from 0 on."""
        try:
            if self._stay:
                for system in self._systems:
                    self._progress(f"starting {system.name}")
                    self._try(system, system.start)
                    system.freeze()
            for number in rounds:
                shift = number % max(1, len(self._systems))
                for system in self._systems[shift:] + self._systems[:shift]:
                    self._turn(system, number)
        finally:
            for system in self._systems:
                system.stop()
        return [
            Line(one.name, self._samples[one.name], self._failures.get(one.name, "")) for one in self._systems
        ]

    def _turn(self, system: Measurable, number: int) -> None:
        samples = self._samples[system.name]
        samples.append(None)
        if system.name in self._failures:
            return
        self._progress(f"round {number + 1}: {system.name}")

        def measure() -> None:
            if self._stay:
                system.thaw()
            else:
                system.start()
            samples[-1] = system.measure(self._seconds)

        self._try(system, measure)
        if self._stay:
            system.freeze()
        else:
            system.stop()

    def _try(self, system: Measurable, action: Callable[[], None]) -> None:
        try:
            action()
        except Failed as error:
            self._failures[system.name] = str(error)
            system.stop()
