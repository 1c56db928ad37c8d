"""Leader SGD (Teng et al. 2019), one leader or one a group: workers are pulled towards the best of them.

Every `period` steps each worker reports its mean loss since the last report, and nothing else. The worker with the
lowest one leads its group (ties: the lowest number): it sends its weights, and everybody else moves by `lambda` of
the way to them, the leader itself never. Every `globalPeriod` steps all then move by `globalLambda` of the way to the
best of all, which is one of those leaders; with `globalLeader: instead` they do that in place of the first move.
Between rounds each step pulls a little towards the stored leaders (`prox`, as in the authors' code). The release
counts the job's steps; here a round of all live workers every `period` steps does that.
The job's answer is the mean of the workers, which costs a model a worker: it is gathered in the round after
somebody asked for it, and when the job is over. The full batch gives LGD. `asynchronous` is another server's half,
`asynclsgd.py`. See algorithms.md section 5.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

import numpy as np

from asgd.algorithms.asynclsgd import AsyncLsgdServer
from asgd.algorithms.base import Contribution, Push, ServerStrategy, ShardState, Strategy
from asgd.algorithms.leader import GONE, LeaderWorker, Parting, group_of, standing
from asgd.algorithms.rounds import Decision, Measures, RoundServer, mean
from asgd.kernel import F32
from asgd.spec.types import JobSpec


def make_server(spec: JobSpec) -> ServerStrategy:
    """The half that `algorithm.asynchronous` asks for."""
    return AsyncLsgdServer(spec) if spec.algorithm.get("asynchronous", False) else LsgdServer(spec)


class LsgdServer(Parting, RoundServer):
    """weights: the mean of workers as it was gathered last; slot leader: the best worker of the newest global round.

    kept[leader]: the weights of a leader of the newest round. What is known of that round (`leaders`, `awaited`,
    `onward`) is of the moment and not saved: after a restart everybody goes on as if it had joined.
    """

    slots = ("leader",)
    bare = True

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        own = spec.algorithm
        self.groups = own.get("groups", 1)
        period = int(own.get("period", 10))
        self.every = max(1, int(own.get("globalPeriod", 4 * period)) // period)
        self.instead = own.get("globalLeader", "beside") == "instead"
        self.leaders: dict[int, int] = {}
        """{worker of the newest round: its leader}"""
        self.awaited: set[int] = set()
        """Leaders whose weights have not come yet."""
        self.onward: set[int] = set()
        """Who has moved to its group's leader, and goes on to the best of all."""
        self.decision: Decision = {"wide": False, "best": None, "everybody": False}

    # -- pushes ----------------------------------------------------------------------------------------

    def admit(self, push: Push, state: ShardState) -> str:
        if push.steps:
            # NB: a leader that goes on without having sent its weights (a shard was down) never will.
            self._give_up(state, push.worker)
        elif "onward" in push.meta:
            return "" if push.bare and push.worker in self.leaders else "late"
        elif "parting" not in push.meta and push.worker not in self.awaited:
            return "late"
        return ""

    def _give_up(self, state: ShardState, worker: int) -> None:
        if worker in self.awaited:
            self.awaited.discard(worker)
            state.kept.pop(worker, None)

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        if push.steps:
            super().apply(state, span, push, vector)
            return
        if not push.applied:
            state.kept[push.worker] = np.empty_like(state.weights)
        if push.worker in state.kept:
            state.kept[push.worker][span] = vector

    def finish(self, state: ShardState, push: Push) -> None:
        if push.steps:
            super().finish(state, push)
        elif "onward" in push.meta:
            self.onward.add(push.worker)
        elif "parting" in push.meta:
            self.part(state, push.worker)
        else:
            self.awaited.discard(push.worker)
            self._note_best(state)

    def _note_best(self, state: ShardState) -> None:
        best = self.decision["best"]
        if best is not None and best in state.kept and best not in self.awaited:
            state.slots["leader"][:] = state.kept[best]
            state.facts["led"] = True

    def left(self, state: ShardState, worker: int) -> None:
        self.leaders.pop(worker, None)
        self._give_up(state, worker)

    # -- rounds ----------------------------------------------------------------------------------------

    def decide(self, state: ShardState, pushes: Sequence[Push], measures: Measures) -> Decision:
        facts = state.facts
        facts["rounds"] = int(facts.get("rounds", 0)) + 1
        groups: defaultdict[object, list[Push]] = defaultdict(list)
        for push in pushes:
            groups[group_of(self.groups, push.worker, state.nodes)].append(push)
        wide = len(groups) > 1 and facts["rounds"] % self.every == 0
        leaders: dict[str, int] = {}
        for members in [list(pushes)] if wide and self.instead else groups.values():
            best = min(members, key=_standing).worker
            leaders |= {str(push.worker): best for push in members}
        return {
            "leaders": leaders,
            "wide": wide,
            "best": min(pushes, key=_standing).worker,
            "everybody": bool(facts.pop("asked", False)),
        }

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        self.decision = decision
        self.onward = set()
        self.leaders = {int(worker): leader for worker, leader in decision["leaders"].items()}
        whole = {part.push.worker: part.vector for part in given if part.vector.size}
        for worker in [worker for worker in state.kept if worker != GONE]:
            del state.kept[worker]
        self.awaited = set()
        for leader in set(self.leaders.values()):
            if leader in whole:
                state.kept[leader] = whole[leader].copy()
            elif leader in state.nodes:
                # NB: not its clock: who is about to rest has none, and its weights come all the same.
                self.awaited.add(leader)
        if whole:
            state.weights[:] = mean([whole[worker] for worker in sorted(whole)])
            self._note_best(state)

    # -- pulls -----------------------------------------------------------------------------------------

    def _followed(self, worker: int) -> int | None:
        """Whose weights `worker`, one of the newest round, pulls now; None: nobody's."""
        leader, best = self.leaders[worker], self.decision["best"]
        if worker in self.awaited:
            return None
        if worker not in self.onward and leader != worker:
            return leader
        return best if self.decision["wide"] and best != worker else None

    def may_pull(self, state: ShardState, worker: int) -> bool:
        leader = self._followed(worker) if worker in self.leaders else None
        # NB: a leader without a clock rests for want of data: what it has not sent by now, it never may.
        comes = leader in self.awaited and leader in state.clocks
        return worker not in state.inbox and not comes

    def answer(self, state: ShardState, span: slice, worker: int) -> F32 | None:
        if worker < 0:
            state.facts["asked"] = True
            return state.weights[span]
        if worker not in self.leaders:
            # It joins: beside the best is where all would like to be.
            return (state.slots["leader"] if state.facts.get("led") else state.weights)[span]
        leader = self._followed(worker)
        if leader is None or leader in self.awaited or leader not in state.kept:
            return None
        return state.kept[leader][span]

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        if worker not in self.leaders:
            return {}
        leader, followed, best = self.leaders[worker], self._followed(worker), self.decision["best"]
        wide, sends = bool(self.decision["wide"]), worker in self.awaited
        near = not (wide and self.instead)
        goes_on = wide and best not in (worker, followed) and worker not in self.onward
        return {
            "near": float(near and followed == leader and worker not in self.onward),
            "wide": float(wide and followed == best),
            "leads": float(near and leader == worker),
            "best": float(wide and best == worker),
            "send": float(sends),
            "more": float(goes_on),
            "everybody": float(self.decision["everybody"]),
        }


def _standing(push: Push) -> tuple[float, int]:
    return standing(push.loss, push.worker)


STRATEGY = Strategy(
    "lsgd",
    make_server,
    LeaderWorker,
    answer="mean",
    fields=(
        "period",
        "globalPeriod",
        "lambda",
        "globalLambda",
        "prox",
        "globalProx",
        "globalLeader",
        "groups",
        "asynchronous",
    ),
)
