"""Early stopping: how many evaluations in a row were no better than the best one (`stopAfter.patience`). Pure."""

from __future__ import annotations

from msgspec import Struct

from asgd.server.improving import improves
from asgd.spec.types import PatienceRule


class Patience(Struct):
    """What is remembered of the evaluations of one metric."""

    metric: str = ""
    mode: str = ""
    best: float | None = None
    best_at: int = 0
    """Update count of the best evaluation."""
    waited: int = 0
    """Evaluations since."""
    looked_at: int = -1
    """Update count of the newest evaluation that has counted: the same weights count once."""

    def look(self, rule: PatienceRule, value: float | None, updates: int) -> str:
        """Takes in an evaluation; returns why the job is to stop, in a sentence, or ''."""
        if (self.metric, self.mode) != (rule.metric, rule.mode):
            self.metric, self.mode, self.best, self.waited, self.looked_at = (
                rule.metric,
                rule.mode,
                None,
                0,
                -1,
            )
        if value is None or updates <= self.looked_at:
            return ""
        self.looked_at = updates
        if improves(rule.mode, value, self.best, rule.min_delta):
            self.best, self.best_at, self.waited = value, updates, 0
        else:
            self.waited += 1
        if self.waited < rule.evaluations:
            return ""
        times = "1 evaluation" if self.waited == 1 else f"{self.waited} evaluations"
        than = "" if self.best is None else f" on {self.best:.6g} of update {self.best_at:,}"
        least = f" by more than {rule.min_delta:g}" if rule.min_delta else ""
        return f"{rule.metric} has not improved{than}{least} for {times}"
