"""Which pushes are out of all bounds: their largest element is a great many times what is usual on this shard.

One finite push of 1e30 ruins weights for good. What is usual is a running median of the pushes' largest elements: each
push, refused ones too, moves it by one step up or down, so that a few wild ones hardly move it and a lasting change of
size is learnt. The largest element does not depend on the order of a sum, so replays and the simulator decide alike.
Pure.
"""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

from asgd.spec.types import OutlierRule

STEP = 1.25
LEAST_USUAL = 1e-38


def sentence(rule: OutlierRule) -> str:
    """What is said of a worker whose pushes are refused as outliers."""
    return f"pushes of more than outliers.factor ({rule.factor:g}) times the usual are refused"


class Outliers:
    """Of one shard. `limit`: a push with an element of this size is refused; inf while none is."""

    def __init__(self, rule: OutlierRule) -> None:
        self.rule = rule
        self._others: dict[int, Outliers] = {}
        """Of the models after the first one: what is usual for one says nothing of another."""
        self.usual = 0.0
        self.seen = 0
        """Pushes that were not all zero."""
        self.workers: Counter[int] = Counter()
        """{worker: its pushes that were refused}"""
        self.limit = math.inf

    def of(self, part: int) -> Outliers:
        """Those of model number `part` of several."""
        if not part:
            return self
        if part not in self._others:
            self._others[part] = Outliers(self.rule)
            self._others[part].workers = self.workers
        return self._others[part]

    def judge(self, largest: float) -> str:
        """Why a push with an element of this size is refused, inf for what is not finite; '' if it is not."""
        if largest < self.limit:
            return ""
        return "outlier" if math.isfinite(largest) else "nonfinite"

    def told(self, largest: float) -> None:
        """A finite push's largest element. One that is all zero says nothing of what is usual."""
        if not largest or not self.rule.factor:
            return
        if not self.seen:
            self.usual = largest
        self.usual = self.usual * STEP if largest > self.usual else max(self.usual / STEP, LEAST_USUAL)
        self.seen += 1
        self._bound()

    def refused(self, worker: int, largest: float) -> None:
        """A push of `worker` was refused as an outlier."""
        self.workers[worker] += 1
        self.told(largest)

    def _bound(self) -> None:
        if self.seen >= self.rule.after:
            self.limit = max(self.rule.least, self.rule.factor * self.usual)

    def state(self) -> dict[str, Any]:
        """What a save keeps."""
        counts = {str(worker): count for worker, count in sorted(self.workers.items())}
        own = {"usual": self.usual, "seen": self.seen, "workers": counts}
        others = {str(part): [other.usual, other.seen] for part, other in sorted(self._others.items())}
        return own | ({"others": others} if others else {})

    def load(self, state: dict[str, Any]) -> None:
        """Takes over what `state` returned."""
        self.usual, self.seen, named = state["usual"], state["seen"], state["workers"]
        # An earlier version kept their numbers alone.
        counts = named if isinstance(named, dict) else dict.fromkeys(named, 1)
        self.workers = Counter({int(worker): int(count) for worker, count in counts.items()})
        self._bound()
        self._others = {}
        for part, (usual, seen) in state.get("others", {}).items():
            other = self.of(int(part))
            other.usual, other.seen = usual, seen
            other._bound()
