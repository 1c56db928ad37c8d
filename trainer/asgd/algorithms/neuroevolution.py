"""Neuroevolution with SGD and hierarchical cluster-based suppression: OUR RECONSTRUCTION of Zhang et al. 2020.

Of the paper (arXiv 2012.11184) we know what it is about, and neither its rules nor its numbers: what follows is our
own design after its idea, and proves nothing about it. A worker is an individual. A generation: `period` local steps,
then each sends its weights and its fitness, the loss on a fixed probe set. Level 1 of the hierarchy are the model's
blocks, level 2 clusters of individuals whose updates of a block point the same way; in each cluster all but the
fittest lose what they share (`hierarchy.py`). Then the worst are offered children of two of the better half; a
worker keeps the fitter of child and itself, and says which. The best is never offered one. All that is decided
needs only inner products summed over shards. The job's answer is the best individual. See algorithms.md section 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import numpy as np

from asgd.algorithms.base import Contribution, Push, ShardState, Strategy, Vector
from asgd.algorithms.hierarchy import F64, Loss, clusters, cosines, pull_apart
from asgd.algorithms.local import LocalWorker
from asgd.algorithms.rounds import Decision, Measures, RoundServer, gram
from asgd.kernel import F32
from asgd.spec.types import JobSpec

_FITNESS_MOST = float(1 << 53)
"""A figure beyond is refused; a loss that high is as bad as none."""
_NOISE = 1 << 16
"""Elements that share one seed of mutation: noise must not depend on where shards begin."""


class NeuroevolutionServer(RoundServer):
    """weights: the best individual; slot individual-I: worker I's weights as both sides last agreed on them.

    kept[I]: the child that worker I was offered. facts: generation; made {worker: generation of its individual}.
    """

    grows = "individual-"
    measures = True

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        self.threshold = float(own.get("threshold", 0.5))
        self.strength = float(own.get("suppression", 0.5))
        self.replaced = float(own.get("replaced", 0.25))
        self.mutation = float(own.get("mutation", 0.01))
        self.crossover = str(own.get("crossover", "mean"))
        self.offered: set[int] = set()

    # -- every shard -----------------------------------------------------------------------------------

    def measure(self, state: ShardState, given: Sequence[Contribution]) -> Measures:
        updates = [self._update(state, part) for part in given]
        spans = self._spans(state)
        return {"products": np.array([gram([update[span] for update in updates]) for span in spans])}

    def _update(self, state: ShardState, part: Contribution) -> F32:
        """How far an individual has come; nothing where this shard does not know from where."""
        push = part.push
        base = state.slots.get(self.grows + str(push.worker))
        if push.meta.get("accepted"):
            base = state.kept.get(push.worker)
        known = state.facts.get("made", {}).get(str(push.worker)) == push.meta.get("generation")
        return part.vector - base if base is not None and known else np.zeros_like(part.vector)

    def _spans(self, state: ShardState) -> list[slice]:
        """This shard's part of each block."""
        edges = [min(max(edge - state.start, 0), state.weights.size) for edge in state.blocks]
        return [slice(a, b) for a, b in pairwise(edges)]

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        spans, generation = self._spans(state), int(decision["generation"])
        updates = [self._update(state, part) for part in given]
        for span, losses in zip(spans, decision["losses"], strict=True):
            pull_apart([part.vector[span] for part in given], [update[span] for update in updates], losses)
        state.kept.clear()
        made = state.facts.setdefault("made", {})
        for part in given:
            state.slots[self.grows + str(part.push.worker)] = part.vector
            made[str(part.push.worker)] = generation
        self.offered = set()
        for offer in decision["offers"]:
            self._offer(state, spans, generation, **offer)
        if decision["best"] is not None:
            state.weights[:] = state.slots[self.grows + str(decision["best"])]

    def _offer(
        self, state: ShardState, spans: list[slice], generation: int, worker: int, parents: list[int],
        shares: list[float], seed: int,
    ) -> None:  # fmt: skip
        """Makes `worker`'s child; `shares`: how much of each block is the first parent's."""
        first, second = (state.slots[self.grows + str(parent)] for parent in parents)
        child = np.empty_like(state.weights)
        for span, share in zip(spans, shares, strict=True):
            child[span] = first[span] * np.float32(share)
            child[span] += second[span] * np.float32(1 - share)
        scale = np.float32(self.mutation / generation)
        begin, end = state.start, state.start + child.size
        for number in range(begin // _NOISE, -(-end // _NOISE)):
            noise = np.random.default_rng([seed, number]).standard_normal(_NOISE, np.float32)
            low, high = max(begin, number * _NOISE), min(end, (number + 1) * _NOISE)
            child[low - begin : high - begin] += scale * noise[low - number * _NOISE : high - number * _NOISE]
        state.kept[worker] = child
        self.offered.add(worker)

    def answer(self, state: ShardState, span: slice, worker: int) -> F32:
        if worker in self.offered and worker in state.kept:
            return state.kept[worker][span]
        return state.slots.get(self.grows + str(worker), state.weights)[span]

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        made = state.facts.get("made", {}).get(str(worker), 0)
        return {"generation": float(made), "offer": float(worker in self.offered)}

    def left(self, state: ShardState, worker: int) -> None:
        """Its individual stays: who comes back with this number goes on from it."""
        self.offered.discard(worker)
        state.kept.pop(worker, None)

    # -- shard 0 ---------------------------------------------------------------------------------------

    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        generation = state.facts["generation"] = int(state.facts.get("generation", 0)) + 1
        fitness = [_fitness(push) for push in pushes]
        order = sorted(range(len(pushes)), key=lambda i: (fitness[i], pushes[i].worker))
        best = pushes[order[0]].worker if math.isfinite(fitness[order[0]]) else None
        offers = self._offers([pushes[i].worker for i in order], len(measures["products"]), generation)
        # NB: who may turn its child down goes on from the weights that it sent, so nothing is taken from them.
        spared = {offer["worker"] for offer in offers}
        losses = [
            [loss for loss in self._losses(products, fitness) if pushes[loss[0]].worker not in spared]
            for products in measures["products"]
        ]
        return {"generation": generation, "losses": losses, "offers": offers, "best": best}

    def _losses(self, products: F64, fitness: list[float]) -> list[Loss]:
        """What individuals lose in one block, all by place in the round: in each cluster all but the fittest."""
        lost: list[Loss] = []
        for cluster in clusters(cosines(products), self.threshold):
            best = min(cluster, key=lambda i: (fitness[i], i))
            total = float(products[np.ix_(cluster, cluster)].sum())
            for i in cluster:
                if i != best and total > 0:
                    lost.append((i, cluster, self.strength * float(products[i, cluster].sum()) / total))
        return lost

    def _offers(self, ranked: list[int], blocks: int, generation: int) -> list[dict[str, object]]:
        """Children for the worst of `ranked` (best first), of parents in the better half."""
        better = ranked[: -(-len(ranked) // 2)]
        count = min(int(self.replaced * len(ranked)), len(ranked) - len(better))
        random = np.random.default_rng([0xE70, self.spec.seed, generation])
        offers: list[dict[str, object]] = []
        for worker in ranked[len(ranked) - count :] if len(better) > 1 else []:
            parents = [int(parent) for parent in random.choice(better, 2, replace=False)]
            mixed = random.integers(0, 2, blocks).astype(float)
            shares = mixed.tolist() if self.crossover == "blocks" else [0.5] * blocks
            offers.append(
                {
                    "worker": worker,
                    "parents": parents,
                    "shares": shares,
                    "seed": int(random.integers(1 << 32)),
                }
            )
        return offers


def _fitness(push: Push) -> float:
    """Lower is better; who tells none is the worst."""
    return push.meta.get("fitness", math.inf)


class NeuroevolutionWorker(LocalWorker):
    """`judge` gives the loss on the probe set; whoever drives this object sets it."""

    default_period = 25

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.probes = int(spec.algorithm.get("probe", 256))
        self.fitness = math.inf
        self.accepted = False

    def joined(self, w: Vector) -> None:
        self.scratch = w * 0
        self.since = 0
        self.accepted = False
        self.optimizer.forget()

    def outgoing(self, w: Vector, g: Vector) -> Vector:
        self.since = 0
        self.fitness = self.judge(w)
        return w

    def meta(self) -> dict[str, float]:
        # NB: of the answer before; the next one may come with another generation.
        fitness = {"fitness": self.fitness} if abs(self.fitness) < _FITNESS_MOST else {}
        return fitness | {
            "accepted": float(self.accepted),
            "generation": self.notes.get("generation", 0.0),
        }

    def incoming(self, w: Vector, pulled: Vector) -> None:
        self.accepted = False
        if not self.notes.get("offer"):
            if not math.isfinite(float(w.sum())):
                self.optimizer.forget()
            w[:] = pulled
            return
        fitness = self.judge(pulled)
        if fitness < self.fitness or not math.isfinite(self.fitness):
            self.accepted = True
            w[:] = pulled
            self.optimizer.forget()


STRATEGY = Strategy(
    "neuroevolution",
    NeuroevolutionServer,
    NeuroevolutionWorker,
    answer="best",
    fields=("period", "threshold", "suppression", "replaced", "mutation", "crossover", "probe"),
)
