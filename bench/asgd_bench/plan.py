"""What a case is given: how thorough to be, and how to tell a waiting person what happens."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from asgd_bench import processes
from asgd_bench.measurement import Measurable, Measurement, Progress, stay_started
from asgd_bench.results import Line


class Budget:
    """How long the whole benchmark may take, from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds
        self.cut = False
        """Whether rounds had to be left out since this was last set to False."""

    @property
    def spent(self) -> bool:
        """Whether the time is up."""
        return time.monotonic() > self._end


@dataclass(frozen=True, slots=True)
class Plan:
    """`rounds` of each measurement; `quick`: fewer sizes and shorter rounds; `tiny`: smallest sizes, for tests."""

    rounds: int
    quick: bool
    progress: Progress
    tiny: bool = False
    budget: Budget = field(default_factory=lambda: Budget(float("inf")))

    @property
    def seconds(self) -> float:
        """How long one system is measured in one round."""
        return 0.2 if self.tiny else 0.5 if self.quick else 1.0

    def turns(self, times: int = 1) -> Iterator[int]:
        """Numbers of the rounds, `times` as many as usual; none after the first that would begin when time is up."""
        for number in range(times * self.rounds):
            if number and self.budget.spent:
                self.budget.cut = True
                return
            yield number

    def measure(
        self,
        systems: Sequence[Measurable],
        *,
        refused: Sequence[Line] = (),
        seconds: float = 0.0,
        times: int = 1,
    ) -> list[Line]:
        """Measures `systems` in turn; `refused` are those that can't take part, with their reasons.

        `times` as many rounds as usual, where the difference that is looked for is less than a round's noise.
        """
        stay = stay_started(systems, processes.available_bytes())
        measurement = Measurement(systems, seconds or self.seconds, stay=stay, progress=self.progress)
        return [*measurement.run(self.turns(times)), *refused]
