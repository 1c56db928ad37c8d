"""A server core with a job under way, to which anything may be said: what it holds can be compared before and after."""

from __future__ import annotations

import copy
from typing import Any

import msgspec
import numpy as np

from asgd.server.core import ServerCore
from asgd.server.saving import StoreFacts
from asgd.spec.types import Job
from asgd.wire.messages import AnyMessage, Beat, Exchange, Fault, Granted, Hello, Init, Lease, Welcome
from asgd.wire.partition import part_range, shard_range
from tests.checks.harness import job_spec

SIZE, SAMPLES, BATCH = 8, 64, 8
TENSORS = b'[["layer.weight", [2, 3]], ["layer.bias", [2]]]'
NOW = 100.0
STARTED = 1_700_000_000 * 10**9
"""The server's own incarnation: nanoseconds since 1970."""


class Members:
    """Shard 0 of two; workers 0 and 1 have joined and brought their weights, each by a connection of its name."""

    def __init__(self, index: int = 0, store: bool = True, **spec: Any) -> None:
        fields = {
            "stopAfter": {"epochs": 100},
            "batchSize": BATCH,
            "parameterServer": {"shards": 2},
            "workers": {"replicas": 2, "maxReplicas": 4},
            "optimizer": {"learningRate": 0.5},
        }
        job = Job("check", "default", job_spec(**(fields | spec)), {}, frozenset())
        facts = StoreFacts("memory:", 0) if store else None
        self.core = ServerCore(job, index, 1, store=facts)
        self.core.knowledge.room, self.core.knowledge.started = 1 << 30, (STARTED, 0.0)
        for worker in (0, 1):
            assert isinstance(self.say(worker, hello(worker)), Welcome)
        part = shard_range(SIZE, index, 2).size
        self.say(0, Init(0, STARTED, 0), np.ones(part, np.float32).tobytes())
        assert self.core.shard.ready
        self.core.tick(NOW)

    def say(self, sender: Any, message: AnyMessage, payload: Any = None) -> Any:
        """The answer to one message, as a driver would send it; None when there is none."""
        answers = self.core.receive(sender, message, payload, NOW)
        return next((answer for to, answer, _ in answers if to == sender), None)

    def lease(self, worker: int, request: int) -> tuple[int, int, int]:
        granted = self.say(worker, Lease(worker, STARTED, request))
        assert isinstance(granted, Granted)
        return granted.epoch, granted.start, granted.stop

    def push(self, worker: int, sequence: int, **fields: Any) -> Any:
        """The answer to a push of ones, of the first part where the strategy has several."""
        state, parts = self.core.shard.state, self.core.shard.strategy.parts
        given = {
            "base": state.version,
            "samples": BATCH,
            "steps": 1,
            "pull": False,
            "finite": True,
            "parts": parts,
        }
        message = Exchange(worker, STARTED, sequence, 0, **(given | fields))
        return self.say(
            worker, message, bytes(np.ones(part_range(state.weights.size, 0, parts).size, np.float32))
        )

    @property
    def held(self) -> Any:
        """All that a restart would go on from, all that is shown, and who is a member."""
        core = self.core
        shard, primary = core.shard, core.primary
        facts: dict[str, Any] = {"shard": shard.meta(), "weights": shard.state.weights.tobytes()}
        facts["members"] = shard.members, shard.state.clocks, shard.state.dataset, shard.state.blocks
        facts["seen"] = {index: msgspec.to_builtins(seen) for index, seen in shard.seen.items()}
        if primary:
            chief = primary.coordinator
            facts["job"] = chief.state(NOW)
            facts["chief"] = [msgspec.to_builtins(vars_of(member)) for member in chief.members.values()]
            facts["leased"] = dict(chief.pool.leased) if chief.pool else None
            facts["reports"], facts["terms"] = primary.reports, primary.terms
            facts["stop"] = chief.stop_reason, chief.phase
        return copy.deepcopy(facts)

    @property
    def refused(self) -> dict[tuple[str, str], int]:
        """{(peer, reason): messages}"""
        return dict(self.core.traffic.refused)


def vars_of(member: Any) -> dict[str, Any]:
    return {name: getattr(member, name) for name in type(member).__slots__ if name != "heard"}


def hello(worker: int, **fields: Any) -> Hello:
    given = {"dataset": SAMPLES, "tensors": TENSORS, "term": 0}
    return Hello("check", "worker", worker, STARTED, SIZE, "layout", **(given | fields))


def beat(worker: int) -> Beat:
    return Beat("worker", worker, STARTED)


def is_fault(answer: Any, code: str) -> bool:
    return isinstance(answer, Fault) and answer.code == code and bool(answer.text)
