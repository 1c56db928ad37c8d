"""Shard 0's view of the evaluator: whether it is there, whether it is still expected, and whether it hangs. Pure."""

from __future__ import annotations

from asgd.spec.types import JobSpec

EVALUATOR_TIMEOUT_SECONDS = 15.0
SLOW_TIMES = 8.0
"""An evaluation may take so many times as long as the slowest one before."""


class EvaluatorLife:
    """Times are seconds."""

    def __init__(self) -> None:
        self.heard: float | None = None
        self.awaited = False
        """Workers say that the task has an evaluation, and no evaluator has joined or left yet."""
        self.incarnation = -1
        self.given_up = ""
        """Why this incarnation is to end."""
        self.failed = 0
        """Failed evaluations in a row."""
        self._came = False
        self._progress = 0.0
        self._results = 0
        self._slowest = 0.0

    def meet(self, now: float | None, incarnation: int) -> None:
        """It joined, was heard of, or (None) left."""
        self.heard, self.awaited, self._came = now, False, True
        if now is not None and incarnation != self.incarnation:
            self.incarnation, self.given_up, self._progress = incarnation, "", now

    def expect(self) -> None:
        """A worker says that the task has an evaluation."""
        self.awaited = not self._came

    def told(self, every: float, now: float) -> None:
        """It has told a result. `every`: seconds between the starts of two evaluations."""
        gap = now - self._progress
        if self._results and gap > 1.05 * every:  # NB: else it was waiting for the time to look again
            self._slowest = max(self._slowest, gap)
        self._results += 1
        self._progress = now

    def silent(self, since: float, now: float) -> bool:
        """Whether nobody is left to evaluate the weights that are final since `since`."""
        heard = since if self.awaited else self.heard
        return heard is None or now - heard >= EVALUATOR_TIMEOUT_SECONDS

    def deadline(self, spec: JobSpec) -> float:
        """Seconds that an evaluation may take: the first, which may compile, as long as the job's start."""
        policy = spec.run_policy
        if not self._results:
            return policy.startup_deadline_seconds
        return max(
            policy.progress_deadline_seconds, SLOW_TIMES * self._slowest, 2 * spec.evaluation.every_seconds
        )

    def hangs(self, spec: JobSpec, training_since: float, now: float) -> float:
        """Seconds that it has told nothing while it should have, when these are too many; else 0."""
        if not spec.evaluation.every_seconds or self.heard is None or self.given_up:
            return 0.0
        idle = now - max(self._progress, training_since)
        return idle if idle > self.deadline(spec) else 0.0

    def excuse(self, seconds: float, now: float) -> None:
        """For so long nobody could be heard."""
        if self.heard is not None:
            self.heard = min(now, self.heard + seconds)
        self._progress = min(now, self._progress + seconds)
