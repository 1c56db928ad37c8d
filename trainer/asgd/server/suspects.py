"""Workers whose work is no good: it is tried once more, the second time left out, and who repeats it is named. Pure."""

from __future__ import annotations

from asgd.server import outliers
from asgd.server.membership import Membership
from asgd.server.pool import Span
from asgd.spec.types import JobSpec

NAMED_IN_A_ROW, NAMED_IN_ALL = 3, 10
"""A worker is named when so many of its batches were not finite."""
LATELY_SECONDS = 300.0
"""A push that was refused so long ago is no trouble of this moment any more."""


class Suspects(Membership):
    """The members, and those that a notice has named for what they sent."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.suspects: set[int] = set()
        """Workers that a notice has named for their pushes."""
        self.refused_at: dict[int, float] = {}
        """{one of them: when a push of it was refused last}"""

    def refused_lately(self, now: float) -> list[int]:
        """Who of the suspects sends what is refused at this time."""
        return sorted(index for index, at in self.refused_at.items() if now - at < LATELY_SECONDS)

    def _unusable(
        self, index: int, visits: list[Span], now: float, verdict: str = "refused:nonfinite"
    ) -> None:
        """What worker `index` made of `visits` was no good: it is tried once more, and who repeats it is named."""
        skipped = self.pool.give_up(index, visits) if self.pool else 0
        if skipped and self.pool and self.pool.skipped == skipped:
            self.notices.add(
                f"{skipped} samples gave nothing of use twice, and are left out of this epoch", "pushes"
            )
        if verdict == "refused:outlier":
            self.suspect(index, outliers.sentence(self.spec.outliers), now)
        elif member := self.members.get(index):
            member.unusable += 1
            member.unusable_in_a_row += 1
            what = "had a loss or gradient that is not finite"
            if member.unusable_in_a_row == NAMED_IN_A_ROW:
                self.suspect(index, f"{NAMED_IN_A_ROW} batches in a row {what}", now)
            elif member.unusable == NAMED_IN_ALL:
                self.suspect(index, f"{NAMED_IN_ALL} batches {what}", now)
        if index in self.suspects:
            self.refused_at[index] = now

    def suspect(self, index: int, why: str, now: float) -> None:
        """A push of a worker was refused just now; tells once that what it sends is no good, and why."""
        self.refused_at[index] = now
        if index not in self.suspects:
            self.suspects.add(index)
            self.notices.add(f"worker {index}: {why}", "pushes")
