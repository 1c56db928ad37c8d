"""SafeguardSGD (Allen-Zhu et al., ICLR 2021): workers whose summed gradients wander off from the others' are removed.

In synchronous rounds each shard sums every worker's gradients over a short and a long window. Distances between the
sums (m x m numbers a shard, added up on shard 0) give a median worker; who is further from it than `multiplier`
times max(the median's own score, a floor) is no longer listened to until the long window ends. A purely adaptive
threshold removes honest workers. Floors are in units that follow the job, the length that a whole window's sum would
have if its gradients were as long as they are now and pointed anywhere: they are given, or measured in the first
`calibrate` rounds, in which nobody is judged. The move of a round still uses those who were trusted before it, and
noise against saddle points if asked for.

The paper's m workers take part in every round. Ours join one by one, die and miss rounds, so (our rules):
sums that are compared cover the same rounds, for who misses one is taken to have said the mean of the trusted;
all windows begin anew when somebody joins for the first time in the job, which nobody can do twice; a restart
wipes no record; and while fewer take part than could outvote all liars, nobody is judged (`quorum`). See
algorithms.md section 7.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from asgd.algorithms.base import Contribution, Push, ShardState, Strategy
from asgd.algorithms.gradient import GradientWorker
from asgd.algorithms.robust import F64, distances
from asgd.algorithms.rounds import Decision, Measures, gram, mean
from asgd.algorithms.sync import SyncServer
from asgd.kernel import F32
from asgd.spec.types import JobSpec

WINDOWS = ("short", "long")
FLOORS = {"short": 1.3, "long": 1.1}
"""Of the digits example, whose clean runs have scores of up to 1.1 to 1.5 at the ends of windows."""
_LEAST_SQUARE = 1e-60
Mask = npt.NDArray[np.bool_]


def quorum(workers: int, present: int) -> int:
    """How many of those present a median worker has near it, itself included.

    More than half of them, and more than all that can be liars: fewer than half of the job's `workers`. So whoever is
    the median, an honest worker is as near to it as its score says. With everybody there it is floor(m / 2) + 1.
    """
    return max(present // 2, (workers - 1) // 2) + 1


def _record(worker: int) -> int:
    """Key of a worker's sums. NB: what is kept under the worker's own number goes with the worker; nobody shall lose
    a bad record by a restart."""
    return -1 - worker


class SafeguardServer(SyncServer):
    """`state.kept[_record(worker)]` is (2n,): the sums over the short and over the long window.

    facts: rejected (workers), and on shard 0 everRejected, known (who ever took part), round (within the long window),
    logLength (the running mean of the logarithm of gradients' lengths), lengths (how many rounds it is of), shortScore
    and longScore (the median's newest, in units), largestShort and largestLong (of the run), calibrated (rounds).
    """

    measures = True

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        self.lengths = {"short": int(own.get("shortWindow", 45)), "long": int(own.get("longWindow", 270))}
        self.floors = {name: float(own.get(f"{name}Floor", FLOORS[name])) for name in WINDOWS}
        self.calibration = int(own.get("calibrate", 0))
        self.multiplier = float(own.get("multiplier", 2.0))
        self.windows = WINDOWS[:1] if own.get("single", False) else WINDOWS
        self.noise = float(own.get("noise", 0.0))

    # -- every shard ---------------------------------------------------------------------------------

    def measure(self, state: ShardState, given: Sequence[Contribution]) -> Measures:
        share = np.float32(1 / max(1, len(self._trusted(state, given))))
        self._enrol(state, given)
        size, found = state.weights.size, Measures()
        for place, name in enumerate(WINDOWS):
            spans = [state.kept[_record(part.push.worker)][place * size :][:size] for part in given]
            found[name] = gram([span + share * part.vector for span, part in zip(spans, given, strict=True)])
        found["squares"] = np.array([float(np.dot(part.vector, part.vector)) for part in given])
        return found

    def _enrol(self, state: ShardState, given: Sequence[Contribution]) -> None:
        """Who has no sums gets the mean of the trusted ones' sums: so it missed all rounds that they cover."""
        new = [key for part in given if (key := _record(part.push.worker)) not in state.kept]
        if new:
            rejected = {_record(worker) for worker in state.facts.get("rejected", [])}
            old = [state.kept[key] for key in sorted(state.kept.keys() - rejected, reverse=True)]
            start = mean([old[0].copy(), *old[1:]]) if old else np.zeros(2 * state.weights.size, np.float32)
            state.kept.update({key: start.copy() for key in new})

    def _trusted(self, state: ShardState, given: Sequence[Contribution]) -> list[Contribution]:
        rejected = set(state.facts.get("rejected", []))
        return [part for part in given if part.push.worker not in rejected] or list(given)

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        trusted = self._trusted(state, given)
        share = np.float32(1 / len(trusted))
        self._enrol(state, given)
        if decision["anew"]:
            self._clear(state, WINDOWS)
        for part in given:
            self._add(state, _record(part.push.worker), share * part.vector)
        gradient = mean([part.vector for part in trusted])
        absent = state.kept.keys() - {_record(part.push.worker) for part in given}
        for key in absent:
            self._add(state, key, share * gradient)
        if decision["clear"]["long"]:
            for key in absent:
                del state.kept[key]
        self._clear(state, [name for name in WINDOWS if decision["clear"][name]])
        if self.noise:
            gradient += np.float32(self.noise) * self._draw(state)
        self.move(state, gradient)
        state.facts["rejected"] = decision["rejected"]

    @staticmethod
    def _add(state: ShardState, key: int, step: F32) -> None:
        size, sums = state.weights.size, state.kept[key]
        sums[:size] += step
        sums[size:] += step

    @staticmethod
    def _clear(state: ShardState, windows: Sequence[str]) -> None:
        size = state.weights.size
        for name in windows:
            place = WINDOWS.index(name)
            for sums in state.kept.values():
                sums[place * size :][:size] = 0

    def _draw(self, state: ShardState) -> F32:
        """(n,) standard normal numbers that the seed, the round and the place of this shard decide."""
        place = [0x5AFE, self.spec.seed, int(state.facts.get("rounds", 0)), state.start]
        return np.random.default_rng(place).standard_normal(state.weights.size, np.float32)

    # -- shard 0 -------------------------------------------------------------------------------------

    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        facts = state.facts
        workers = [push.worker for push in pushes]
        known = set(facts.get("known", workers))
        facts["known"] = sorted(known.union(workers))
        anew = len(facts["known"]) > len(known)
        round_ = 0 if anew else int(facts.get("round", 0)) + 1
        rejected = set(facts.get("rejected", []))
        good = np.array([worker not in rejected for worker in workers])
        keep = good.copy()
        self._note_length(measures["squares"][good], anew, facts)
        learning = self.learning(facts)
        facts["calibrated"] = (
            0 if anew and learning else min(int(facts.get("calibrated", 0)) + 1, self.calibration)
        )
        if not anew:
            for name in self.windows:
                near = self._near(measures[name], good, name, facts)
                keep = keep if learning else keep & near
        bad = {worker for worker, kept in zip(workers, keep, strict=True) if not kept}
        # NB: an edit may have made the window shorter than it is old.
        over = round_ >= self.lengths["long"]
        facts["round"] = 0 if over else round_
        clear = {"short": over or round_ % self.lengths["short"] == 0, "long": over}
        everybody = sorted(bad | (rejected - set(workers)))
        facts["everRejected"] = sorted({*facts.get("everRejected", []), *everybody})
        return {"rejected": [] if over else everybody, "clear": clear, "anew": anew}

    def _note_length(self, squares: F64, anew: bool, facts: Decision) -> None:
        """The trusted gradients' median length goes into a running mean, over a long window's rounds at most.

        NB: the mean is a geometric one, begins anew with the windows and forgets its first rounds soon (newer rounds
        weigh more, in proportion to their number). Among the first to join liars may have been many, and gradients
        forty times as long as later; floors would follow those for the whole window.
        """
        count = 1 if anew else int(facts.get("lengths", 0)) + 1
        share = max(1 / self.lengths["long"], 2 / (count + 1))
        square = float(np.median(squares)) if len(squares) else 0.0
        log = 0.5 * math.log(max(square, _LEAST_SQUARE))
        facts["lengths"] = count
        facts["logLength"] = (1 - share) * float(facts.get("logLength", 0.0)) + share * log

    def learning(self, facts: Decision) -> bool:
        """Floors are measured in this round, and nobody is judged."""
        return int(facts.get("calibrated", 0)) < self.calibration

    def _near(self, products: F64, good: Mask, name: str, facts: Decision) -> Mask:
        """Which workers are near the median worker of the trusted ones."""
        apart = np.sqrt(distances(products))
        among = np.flatnonzero(good)
        rank = quorum(max(len(good), self.spec.workers.replicas), len(good)) - 1
        if rank >= len(among) - 1:
            # The median's score would be its distance to the furthest: nobody is further.
            return good
        scores = np.sort(apart[np.ix_(among, among)], axis=1)[:, rank]
        middle = int(np.argmin(scores))
        unit = gradient_length(facts) / len(among) * math.sqrt(self.lengths[name])
        floor = self._floor(name, facts)
        facts[f"{name}Score"] = score = float(scores[middle]) / unit if unit > 0 else 0.0
        facts[_largest(name)] = max(float(facts.get(_largest(name), 0.0)), score)
        limit = self.multiplier * max(float(scores[middle]), floor * unit)
        near: Mask = good & (apart[among[middle]] <= limit)
        return near

    def _floor(self, name: str, facts: Decision) -> float:
        """In units: what was measured while nobody was judged, else what was given."""
        if not self.calibration or self.learning(facts):
            return self.floors[name]
        measured: float = facts.setdefault(
            f"{name}Floor", float(facts.get(_largest(name), self.floors[name]))
        )
        return measured

    def tells(self, state: ShardState) -> dict[str, float]:
        facts = state.facts
        if "logLength" not in facts:
            return {}
        figures = {"gradientLength": gradient_length(facts)}
        for name in self.windows:
            figures[f"{name}Floor"] = floor = float(facts.get(f"{name}Floor", self.floors[name]))
            figures[f"{name}Score"] = score = float(facts.get(f"{name}Score", 0.0))
            figures[f"{name}Limit"] = self.multiplier * max(score, floor)
            figures[_largest(name)] = float(facts.get(_largest(name), 0.0))
        left = self.calibration - int(facts.get("calibrated", 0))
        return figures | ({"calibrationRoundsLeft": float(left)} if self.calibration else {})


def gradient_length(facts: Decision) -> float:
    """The running length of one worker's gradient."""
    return math.exp(float(facts["logLength"]))


def _largest(name: str) -> str:
    return f"largest{name.capitalize()}"


STRATEGY = Strategy(
    "safeguard",
    SafeguardServer,
    GradientWorker,
    majority=True,
    fields=(
        "shortWindow",
        "longWindow",
        "shortFloor",
        "longFloor",
        "calibrate",
        "multiplier",
        "single",
        "noise",
    ),
)
