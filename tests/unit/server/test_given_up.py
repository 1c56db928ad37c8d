"""How a process learns that it was given up: in the answer to its heartbeat, as long as it sends any."""

from __future__ import annotations

from typing import Any

import numpy as np

from asgd.server.core import ServerCore
from asgd.wire.messages import (
    Beat,
    Beaten,
    Command,
    Evaluated,
    Exchange,
    Hello,
    Init,
    Lease,
    Pull,
    Role,
)
from asgd.wire.reports import ShardReport
from tests.checks.harness import as_frame
from tests.checks.virtual import job

SIZE, DEADLINE, EVALUATION = 4, 30, 60
HUNG = (
    f"worker 1 holds 800 samples and has pushed nothing for {DEADLINE + 1} s: its samples go to others, nobody"
    " waits for it, it has to end"
)


class Server:
    """Shard 0; two workers have pushed once and asked for more, and an evaluator has evaluated once."""

    def __init__(self, shards: int = 1, **more: Any) -> None:
        spec: dict[str, Any] = {
            "workers": {"replicas": 2, "progressDeadlineSeconds": DEADLINE},
            "runPolicy": {"progressDeadlineSeconds": EVALUATION},
            "evaluation": {"everySeconds": 10},
            "stopAfter": {"updates": 10_000},
            "parameterServer": {"shards": shards},
        }
        self.core = ServerCore(job(**spec, **more), 0, 1)
        self.now, self.requests, self.part = 0.0, 0, SIZE // shards
        for worker in (0, 1):
            hello = Hello("check", "worker", worker, 1, SIZE, "layout", dataset=6400, evaluates=True)
            self.say("worker", worker, hello)
        self.say("worker", 0, Init(0, 1, 0), np.ones(self.part, np.float32))
        self.say("evaluator", 0, Hello("check", "evaluator", 0, 1, SIZE, "layout"))
        for worker in (0, 1):
            self.step(worker)
        self.say("evaluator", 0, Evaluated(1, 8, {"accuracy": 0.5}, False))

    def say(self, role: Role, index: int, message: Any, vector: Any = None) -> Any:
        """The answer to a message of a process, by its own connection."""
        payload = None if vector is None else as_frame(vector)
        ((_, answer, _),) = self.core.receive(f"{role}-{index}", message, payload, self.now)
        return answer

    def step(self, worker: int) -> None:
        """One push, and a request for more data."""
        self.requests += 1
        push = Exchange(worker, 1, self.requests, 0, self.core.shard.state.version, 8, 1, False, True)
        self.say("worker", worker, push, np.zeros(self.part, np.float32))
        self.say("worker", worker, Lease(worker, 1, self.requests))

    def wait(self, seconds: int) -> None:
        """Worker 0 works, and everybody's heart beats."""
        for _ in range(seconds):
            self.now += 1
            self.core.tick(self.now)
            self.step(0)
            for role, index in (("worker", 0), ("worker", 1), ("evaluator", 0)):
                self.beat(role, index)  # type: ignore[arg-type]

    def beat(self, role: Role, index: int, incarnation: int = 1) -> Any:
        return self.say(role, index, Beat(role, index, incarnation))


def test_a_worker_that_hangs_is_told_to_end_and_the_others_are_not() -> None:
    server = Server()
    server.wait(DEADLINE)
    assert server.beat("worker", 1).given_up == ""
    server.wait(1)
    assert server.beat("worker", 1) == Beaten(given_up=HUNG)
    assert server.beat("worker", 0).given_up == ""


def test_it_is_told_so_too_when_the_job_has_ended_meanwhile() -> None:
    server = Server()
    server.wait(DEADLINE + 1)
    server.core.receive("run", Command("stop", "stopped"), None, server.now)
    assert server.beat("worker", 1) == Beaten(given_up=HUNG)
    assert server.beat("worker", 0).stop == "stopped"


def test_a_worker_whose_pull_the_server_holds_back_is_not() -> None:
    server = Server(exchange={"warmStart": {"samples": 1_000_000}})
    server.say("worker", 1, Pull("worker", 1, 1, 0, 1))
    server.wait(3 * DEADLINE)
    assert server.beat("worker", 1).given_up == ""


def test_nobody_is_told_so_while_another_shard_does_not_report() -> None:
    server = Server(shards=2)
    server.say("shard", 1, Beat("shard", 1, 1, ShardReport()))
    server.wait(3 * DEADLINE)
    assert server.beat("worker", 1).given_up == ""


def test_an_evaluator_that_hangs_is_told_to_end_and_its_successor_is_not() -> None:
    server = Server()
    server.wait(EVALUATION)
    assert server.beat("evaluator", 0).given_up == ""
    server.wait(1)
    why = f"the evaluator has told nothing for {EVALUATION + 1} s: it has to end"
    assert server.beat("evaluator", 0) == Beaten(given_up=why)
    assert server.beat("evaluator", 0, 2).given_up == ""
