"""What becomes of a job that diverged: it ends, or asks to go back to its newest checkpoint (`onDivergence`). Pure."""

from __future__ import annotations

from asgd.algorithms.schedule import rate_factor
from asgd.server.divergence import Divergence
from asgd.server.evaluations import Evaluations
from asgd.server.rollback import Rollback
from asgd.spec.types import JobSpec

AGAIN = 10
"""A job that diverges within so many times the updates that it took before has gained nothing by going back."""


class Diverging(Evaluations):
    """The members, and what their pushes tell of the job's health."""

    updates: int

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.divergence = Divergence()
        self.diverged_by: list[int] = []
        self.rollbacks = 0
        """How often the job has gone back to a checkpoint in this run."""
        self.rollback_detail = ""
        """Why it did so last and where it goes on from, in a sentence."""
        self.back_at = self.diverged_at = 0
        """The update that it then went on from, and that at which it had diverged."""
        self.going_back = ""
        """Why the job is to go back now, in a sentence; empty: it is not."""

    def spoiled(self, index: int, verdict: str, now: float) -> None:
        """A push that was accepted turned out to be bad in a later chunk (pushes that leave during backward)."""
        self.divergence.spoil(index)
        self._unusable(index, [], now, verdict)
        self._check_bad(now)

    def _check_bad(self, now: float) -> None:
        if self.divergence.beyond(len(self.members)):
            self._diverge(now)

    def _diverge(self, now: float) -> None:
        if self.stop_reason or self.going_back:
            return
        detail, blamed = self.divergence.sentence(self.spec.divergence)
        if self.spec.on_divergence == "Rollback":
            limit = self.spec.rollback.limit
            if self.rollbacks < limit:
                self.going_back, self.diverged_by = detail, blamed
                return
            detail += f"; it has gone back {limit} times already, the most that rollback.limit allows"
        self._end_diverged(detail, blamed, now)

    def stay(self, now: float) -> None:
        """The job cannot go back: it ends."""
        detail = f"{self.going_back}; there is no checkpoint yet that the job could go back to"
        self.going_back = ""
        self._end_diverged(detail, self.diverged_by, now)

    def _end_diverged(self, detail: str, blamed: list[int], now: float) -> None:
        self.stop_detail, self.diverged_by = detail, blamed
        self.stop("diverged", now)

    @property
    def diverged_again(self) -> bool:
        """The job has diverged soon after it went back: within `AGAIN` times the updates that it took before."""
        return self.rollbacks > 0 and (
            self.updates - self.back_at <= AGAIN * max(0, self.diverged_at - self.back_at)
        )

    def gone_back(self, back: Rollback) -> None:
        """What was just loaded is of before the divergence, and the job goes on from it."""
        factor, limit = rate_factor(self.spec, back.number), self.spec.rollback.limit
        self.rollbacks, self.rollback_detail = back.number, (
            f"{back.why or 'other servers had gone back'}; the job went back to update {self.updates:,} and goes on at"
            f" {factor:g} times its learning rate (rollback {back.number} of at most {limit})"
        )  # fmt: skip
        self.back_at, self.diverged_at = self.updates, int((back.job or {}).get("updates", 0))
        # NB: rows of signs, if the save holds any, are of what was undone.
        self.divergence = Divergence(best=self.divergence.best)
        self.notices.add(self.rollback_detail, "rollback")
