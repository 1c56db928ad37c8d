"""What a case is given: how thorough to be, and how to tell a waiting person what happens."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from asgd.bench import processes
from asgd.bench.race import Entrant, Progress, Race, stay_started
from asgd.bench.results import Line


@dataclass(frozen=True, slots=True)
class Plan:
    """`rounds` of each measurement; `quick`: fewer sizes and shorter rounds; `tiny`: smallest sizes, for tests."""

    rounds: int
    quick: bool
    progress: Progress
    tiny: bool = False

    @property
    def seconds(self) -> float:
        """How long one contender is measured in one round."""
        return 0.2 if self.tiny else 0.5 if self.quick else 1.2

    def race(
        self,
        entrants: Sequence[Entrant],
        *,
        refused: Sequence[Line] = (),
        seconds: float = 0.0,
        times: int = 1,
    ) -> list[Line]:
        """Measures `entrants` in turn; `refused` are those that could not enter, with their reasons.

        `times` as many rounds as usual, where the difference that is looked for is less than a round's noise.
        """
        stay = stay_started(entrants, processes.available_bytes())
        race = Race(entrants, times * self.rounds, seconds or self.seconds, stay=stay, progress=self.progress)
        return [*race.run(), *refused]
