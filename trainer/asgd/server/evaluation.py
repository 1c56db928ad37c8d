"""Shard 0's view of the evaluator: whether it is there, whether it is still expected, and whether it hangs. Pure."""

from __future__ import annotations

from asgd.spec.types import JobSpec

EVALUATOR_TIMEOUT_SECONDS = 15.0
"""An oracle that has been silent for so long is dead."""
FINAL_SECONDS = 60.0
"""So long the final evaluation waits for an evaluator that has not joined, was started again, or is silent."""
SLOW_TIMES = 8.0
"""An evaluation may take so many times as long as the slowest one before."""


class EvaluatorLife:
    """Times are seconds."""

    def __init__(self) -> None:
        self.heard: float | None = None
        self.wanted = False
        """Workers say that the task has an evaluation."""
        self.awaited = False
        """It is wanted, and no evaluator is there: none has joined yet, or one has left for another to come."""
        self.gone = False
        """None comes any more, as whoever starts it says."""
        self.incarnation = -1
        self.given_up = ""
        """Why this incarnation is to end."""
        self.failed = 0
        """Failed evaluations in a row."""
        self._progress = 0.0
        self._told_at = 0.0
        """When any incarnation has told a result, or the lack of one was told."""
        self._results = 0
        self._slowest = 0.0
        self._asked: float | None = None
        """Since when an evaluation by updates or epochs is due; None: none is."""

    def meet(self, now: float, incarnation: int) -> bool:
        """It joined, or was heard of. Whether it is another process than the one before."""
        self.heard, self.awaited, self.gone = now, False, False
        if incarnation == self.incarnation:
            return False
        again = self.incarnation >= 0
        self.incarnation, self.given_up, self._progress = incarnation, "", now
        return again

    def leave(self, lost: bool) -> None:
        """It has left; `lost`: for good."""
        self.heard, self.awaited, self.gone = None, self.wanted and not lost, lost

    def expect(self) -> None:
        """A worker says that the task has an evaluation."""
        self.wanted = True
        self.awaited = self.heard is None and not self.gone

    def ask(self, due: bool, now: float) -> None:
        """Whether an evaluation by updates or epochs is due at this moment."""
        if not due:
            self._asked = None
        elif self._asked is None:
            self._asked = now

    def told(self, every: float, now: float) -> None:
        """It has told a result. `every`: seconds between the starts of two evaluations; 0: they come by counts."""
        begun = self._progress if every or self._asked is None else max(self._progress, self._asked)
        gap = now - begun
        if self._results and gap > 1.05 * every:  # NB: else it was waiting for the time to look again
            self._slowest = max(self._slowest, gap)
        self._results += 1
        self._progress = self._told_at = now
        self._asked = None

    def silent(self, since: float, now: float) -> bool:
        """Whether nobody is left to evaluate the weights that are final since `since`."""
        heard = since if self.awaited else self.heard
        return heard is None or now - heard >= FINAL_SECONDS

    def deadline(self, spec: JobSpec) -> float:
        """Seconds that an evaluation may take: the first, which may compile, as long as the job's start."""
        policy = spec.run_policy
        if not self._results:
            return policy.startup_deadline_seconds
        return max(policy.progress_deadline_seconds, SLOW_TIMES * self._slowest, 2 * spec.evaluation.seconds)

    def _owes_since(self, spec: JobSpec) -> float | None:
        """Since when it owes a result at the earliest; None: it owes none."""
        return 0.0 if spec.evaluation.seconds else self._asked

    def hangs(self, spec: JobSpec, training_since: float, now: float) -> float:
        """Seconds that it has told nothing while it should have, when these are too many; else 0."""
        owes = self._owes_since(spec)
        if owes is None or self.heard is None or self.given_up:
            return 0.0
        idle = now - max(self._progress, training_since, owes)
        return idle if idle > self.deadline(spec) else 0.0

    def missing(self, spec: JobSpec, training_since: float, now: float) -> float:
        """Seconds without any result, of whatever incarnation, when these are too many; else 0. Told once for each
        such time.

        An evaluation may hang, be given up, and another evaluator take as long as a start takes.
        """
        owes = self._owes_since(spec)
        if owes is None or not self.wanted or self.gone:
            return 0.0
        idle = now - max(self._told_at, training_since, owes)
        if idle <= self.deadline(spec) + spec.run_policy.startup_deadline_seconds:
            return 0.0
        self._told_at = now
        return idle

    def excuse(self, seconds: float, now: float) -> None:
        """For so long nobody could be heard."""
        if self.heard is not None:
            self.heard = min(now, self.heard + seconds)
        self._progress = min(now, self._progress + seconds)
        self._told_at = min(now, self._told_at + seconds)
        if self._asked is not None:
            self._asked = min(now, self._asked + seconds)
