"""The servers' half of asynchronous Leader SGD, a variant of ours: nobody waits for anybody.

The servers keep the weights of each group's leader and the loss that it reported. A worker reports its loss every
`period` steps at its own pace; if it beats its group's leader, or leads already, it sends its weights and leads;
else it moves to the leader's. With every report that closes a `globalPeriod` it then moves to the best of all groups,
or does so instead (`globalLeader`). Shard 0 says who leads and numbers what is sent, so that all shards end with the
same leader's weights whatever arrives first. Whose leader is gone follows whoever reports next.
"""

from __future__ import annotations

import math

import numpy as np

from asgd.algorithms.base import Push, ServerStrategy, ShardState
from asgd.algorithms.leader import Parting, group_of, standing
from asgd.kernel import F32
from asgd.spec.types import JobSpec


class AsyncLsgdServer(Parting, ServerStrategy):
    """slots leader-GROUP: its leader's weights. facts: leaders {group: [worker, loss or None, number]}, sent.

    kept[worker]: its weights as it told them for the job's answer, or on their way in.
    """

    grows = "leader-"
    bare = True

    def __init__(self, spec: JobSpec) -> None:
        super().__init__(spec)
        self.groups = spec.algorithm.get("groups", 1)
        self.losses: dict[int, float | None] = {}
        """{worker: what it reported last}"""
        self.numbers: dict[int, int] = {}
        """{worker that is to send its weights: their number}; on shard 0."""
        self.claims: dict[str, list[float | None]] = {}
        """Leaders whose weights are on their way, as in facts; on shard 0."""
        self.instead = spec.algorithm.get("globalLeader", "beside") == "instead"
        self.wide: set[int] = set()
        """Whose newest report closed a `globalPeriod`."""
        self.onward: set[int] = set()
        """Who of them has moved to its group's leader, and goes on to the best of all."""
        self.owing: set[int] = set()
        """Whose next report brings its weights along, for somebody asked for the job's answer."""
        self.told: dict[int, F32] = {}
        self.over = False
        """Workers have left their weights, and nobody has trained since."""

    def _group(self, state: ShardState, worker: int) -> str:
        return str(group_of(self.groups, worker, state.nodes))

    def _leaders(self, state: ShardState) -> dict[str, list[float | None]]:
        found: dict[str, list[float | None]] = state.facts.setdefault("leaders", {})
        return found

    def admit(self, push: Push, state: ShardState) -> str:
        known = push.steps or not push.meta.keys().isdisjoint(("parting", "send", "onward"))
        return "" if known else "late"

    def apply(self, state: ShardState, span: slice, push: Push, vector: F32) -> None:
        if not push.applied:
            state.kept[push.worker] = np.empty_like(state.weights)
        if push.worker in state.kept:
            state.kept[push.worker][span] = vector

    def finish(self, state: ShardState, push: Push) -> None:
        if "parting" in push.meta:
            self.part(state, push.worker)
            self.over = True
        elif push.steps:
            self._report(state, push)
        elif "onward" in push.meta:
            self.onward.add(push.worker)
        elif push.worker in state.kept:
            self._lead(state, push.worker, int(push.meta["send"]))

    def _report(self, state: ShardState, push: Push) -> None:
        worker, self.over = push.worker, False
        if not push.bare and worker in state.kept:
            self.told[worker] = state.kept.pop(worker)
            self.owing.discard(worker)
        self.losses[worker] = push.loss
        (self.wide.add if push.meta.get("wide") else self.wide.discard)(worker)
        self.onward.discard(worker)
        group = self._group(state, worker)
        # NB: several may report before the first of them has sent its weights.
        leader = self.claims.get(group) or self._leaders(state).get(group)
        leads = leader is None or leader[0] == worker or leader[1] is None
        if leads or (leader and standing(push.loss, worker) < standing(leader[1], int(leader[0] or 0))):
            # NB: a shard 0 that was restored has forgotten numbers that other shards go by.
            given = max(int(state.facts.get("sent", 0)), int(push.meta.get("newest", 0)))
            state.facts["sent"] = self.numbers[worker] = given + 1
            self.claims[group] = [worker, push.loss, given + 1]

    def _lead(self, state: ShardState, worker: int, number: int) -> None:
        """A leader's weights are here; older ones that arrive late are not wanted."""
        group, vector = self._group(state, worker), state.kept.pop(worker)
        self.numbers.pop(worker, None)
        if group in self.claims and int(self.claims[group][2] or 0) <= number:
            del self.claims[group]
        leader = self._leaders(state).get(group)
        if leader is None or number > int(leader[2] or 0):
            loss = self.losses.get(worker)
            known = loss is not None and math.isfinite(loss)
            self._leaders(state)[group] = [worker, loss if known else None, number]
            state.slots[self.grows + group] = vector

    def left(self, state: ShardState, worker: int) -> None:
        for known in (self.losses, self.numbers, self.told):
            known.pop(worker, None)
        for marked in (self.wide, self.onward, self.owing):
            marked.discard(worker)
        self.claims = {group: claim for group, claim in self.claims.items() if claim[0] != worker}
        for leader in self._leaders(state).values():
            if leader[0] == worker:
                leader[1] = None

    def _followed(self, state: ShardState, worker: int) -> str | None:
        """The group whose leader `worker` is to move to now; None: it is that leader, or there is none."""
        near, wide = self._group(state, worker), self._goes_wide(state, worker)
        away = not self._led_by(state, near, worker)
        if away and not (wide and (self.instead or worker in self.onward)):
            return near if near in self._leaders(state) else None
        best = self._best(state) if wide else near
        return None if self._led_by(state, best, worker) else best

    def _led_by(self, state: ShardState, group: str, worker: int) -> bool:
        leader = self._leaders(state).get(group)
        return leader is not None and leader[0] == worker

    def _goes_wide(self, state: ShardState, worker: int) -> bool:
        return worker in self.wide and len(self._leaders(state)) > 1

    def _best(self, state: ShardState) -> str:
        leaders = self._leaders(state)
        return min(leaders, key=lambda group: standing(leaders[group][1], int(leaders[group][0] or 0)))

    def answer(self, state: ShardState, span: slice, worker: int) -> F32 | None:
        if worker < 0:
            self._gather(state, span)
            return state.weights[span]
        if worker not in self.losses:
            # It joins: beside the best is where all would like to be.
            leads = bool(self._leaders(state))
            return (state.slots[self.grows + self._best(state)] if leads else state.weights)[span]
        group = self._followed(state, worker)
        return None if group is None else state.slots[self.grows + group][span]

    def _gather(self, state: ShardState, span: slice) -> None:
        """The answer is the mean of what workers told; whoever asks makes them tell anew."""
        self.owing = set(state.clocks)
        if self.told and not self.over:
            total = np.zeros_like(state.weights[span])
            for worker in sorted(self.told):
                total += self.told[worker][span]
            total *= np.float32(1 / len(self.told))
            state.weights[span] = total

    def notes(self, state: ShardState, worker: int) -> dict[str, float]:
        if worker not in self.losses:
            return {}
        near, followed = self._group(state, worker), self._followed(state, worker)
        wide, onward = self._goes_wide(state, worker), worker in self.onward
        best = self._best(state) if wide else near
        turned = wide and (self.instead or onward)
        goes_on = wide and not turned and followed == near != best and not self._led_by(state, best, worker)
        return {
            "send": float(self.numbers.get(worker, 0)),
            "fetch": float(followed is not None),
            "near": float(followed == near and not turned),
            "wide": float(wide and followed == best),
            "leads": float(self._led_by(state, near, worker)),
            "best": float(wide and self._led_by(state, best, worker)),
            "more": float(goes_on),
            "everybody": float(worker in self.owing),
        }
