"""Streaming DiLoCo (Douillard et al. 2025, arXiv 2501.18512): DiLoCo one fragment at a time, while training goes on.

The model is cut into `fragments`; every period / fragments steps the next one is exchanged, so no message is larger
than 1 / fragments of a model and each fragment still rests a whole period. Its answer is merged `delay` steps later:
x = (1 - mix) x + mix theta_f. A round is about one fragment, and workers push the one that shard 0 says is due, so
whoever comes late joins in step. With one fragment, no delay and mix 1 it is DiLoCo to the bit. See algorithms.md 9.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from asgd.algorithms.base import Contribution, Push, ShardState, Strategy, Turn, Vector
from asgd.algorithms.diloco import DilocoServer, DilocoWorker
from asgd.algorithms.rounds import Decision, Measures
from asgd.spec.types import JobSpec

FRAGMENTS, DELAY, MIX = 4, 1, 0.5


class StreamingServer(DilocoServer):
    """facts: due (the fragment of the open round; shard 0), closed ({fragment: version after its newest round})."""

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.parts = int(spec.algorithm.get("fragments", FRAGMENTS))

    def admit(self, push: Push, state: ShardState) -> str:
        if push.base < int(state.facts.get("closed", {}).get(str(push.part), 0)):
            return "stale"
        # Rounds of other fragments have moved the version and nothing that this push is about.
        push.staleness = 0
        return ""

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        return {"due": float(state.facts.get("due", 0))}

    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        """The fragment that is due, or if nobody brings it (a server lost its memory) the one that most bring."""
        count = Counter(push.part for push in pushes)
        due = int(state.facts.get("due", 0))
        part = due if due in count else min(count, key=lambda part: (-count[part], part))
        state.facts["due"] = (part + 1) % self.parts
        return {"part": part}

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        part, size = decision["part"], state.weights.size
        vectors = [one.vector for one in given if one.push.part == part]
        if vectors:
            self.advance(state, slice(size * part // self.parts, size * (part + 1) // self.parts), vectors)
            closed = state.facts.setdefault("closed", {})
            closed[str(part)] = state.version + len(given)


class StreamingWorker(DilocoWorker):
    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        self.parts = int(own.get("fragments", FRAGMENTS))
        self.delay = int(own.get("delay", DELAY))
        self.mix = float(own.get("mix", MIX))

    def joined(self, w: Vector) -> None:
        super().joined(w)
        self._next()

    def _next(self) -> None:
        self.part = int(self.notes.get("due", 0)) % self.parts

    def turn(self, step: int) -> Turn:
        # All gaps between two exchanges add up to a period.
        gap = self.period * (self.part + 1) // self.parts - self.period * self.part // self.parts
        due = self.since >= gap
        return Turn(push=due, pull=due)

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        self.since = 0
        self.delta[:] = w
        self.delta -= self.anchor
        return self.delta

    def incoming(self, w: Vector, pulled: Vector) -> None:
        for span in self.spans:
            self.anchor[span] = pulled[span]
            theta = self.scratch[span]
            theta[:] = pulled[span]
            theta *= self.mix
            w[span] *= 1 - self.mix
            w[span] += theta
        self._next()


STRATEGY = Strategy(
    "streaming-diloco",
    StreamingServer,
    StreamingWorker,
    fields=("fragments", "period", "delay", "mix", "outerLearningRate", "outerMomentum"),
    counts="samples",
)
