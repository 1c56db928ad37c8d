"""Any interleaving of edits, faults, crashes and controllers ends at rest: bounded passes, then not one write."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from asgd_operator.constants import Condition, Role
from asgd_operator.plan.actions import Apply, ApplyLive, Delete
from asgd_operator.plan.model import Node
from asgd_operator.plan.start import pinned
from tests.effort import examples
from tests.unit.plan.world import World

PASSES = 60
"""Far more than the longest way (suspend with an edit, resume, complete, clean) takes, far less than for ever."""


class AnyInterleaving(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.world = World()
        self.verdict = ""

    @rule(upto=st.one_of(st.none(), st.integers(0, 8)))
    def operator(self, upto: int | None) -> None:
        found = self.world.look()
        self._is_safe(found.actions)
        self.world.act(found, upto)

    @rule(rounds=st.integers(1, 6))
    def work(self, rounds: int) -> None:
        """A stretch without faults: the operator and each controller in turn, some of them a step behind."""
        for _ in range(rounds):
            self.operator(None)
            for part in (self.world.kubelet, self.world.statefulset, self.world.jobs, self.world.collect):
                part()
            self.world.serve()

    @rule(part=st.sampled_from(["kubelet", "statefulset", "jobs", "collect", "serve"]))
    def controller(self, part: str) -> None:
        getattr(self.world, part)()

    @rule(replicas=st.integers(1, 6))
    def scale(self, replicas: int) -> None:
        self.world.scene = self.world.scene.workers(replicas).edited()

    @rule(value=st.booleans())
    def suspend(self, value: bool) -> None:
        self.world.scene = self.world.scene.suspended(value).edited()

    @precondition(lambda self: self.world.scene.spec.get("runPolicy", {}).get("suspend"))
    @rule(shards=st.integers(1, 3))
    def change_shards(self, shards: int) -> None:
        self.world.scene = self.world.scene.shards(shards).edited()

    @precondition(lambda self: self.world.scene.spec.get("runPolicy", {}).get("suspend"))
    @rule(entrypoint=st.sampled_from(["m:f", "m.py"]), loggers=st.sampled_from([[], [{"tensorboard": {}}]]))
    def change_code(self, entrypoint: str, loggers: list[object]) -> None:
        """A script that is not logged has no evaluator."""
        self.world.scene = self.world.scene.having(entrypoint=entrypoint, logging=loggers).edited()

    @rule(ending=st.sampled_from([{"complete": True}, {"failure": ("BackoffLimitExceeded", "It fails.")}]))
    def evaluator_ends(self, ending: dict[str, object]) -> None:
        job = self.world.scene.seen.evaluator
        if job is not None and not job.finished:
            self.world._set(evaluator=replace(job, active=0, **ending))

    @rule(seconds=st.sampled_from([1, 45, 700]))
    def wait(self, seconds: int) -> None:
        self.world.pass_time(seconds)

    @rule(steps=st.integers(1, 50))
    def train(self, steps: int) -> None:
        self.world.updates += steps
        self.world.serve()

    @rule(reason=st.sampled_from(["epochs", "seconds", "diverged"]))
    def reach_the_end(self, reason: str) -> None:
        if self.world.updates:
            self.world.stop_reason = reason

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data(), disrupted=st.booleans())
    def delete_pod(self, data: st.DataObject, disrupted: bool) -> None:
        item = data.draw(st.sampled_from(self.world.pods))
        self.world._replace(item, deletion=self.world.scene.seen.now, disrupted=disrupted)

    @precondition(lambda self: self.world.pods)
    @rule(data=st.data(), code=st.sampled_from([1, 2, 75, 137, 143]))
    def crash_container(self, data: st.DataObject, code: int) -> None:
        item = data.draw(st.sampled_from(self.world.pods))
        again = {"restarts": item.restarts + 1} if item.role == Role.SERVER else {"phase": "Failed"}
        self.world._replace(item, exit_code=code, ready=False, **again)

    @rule(ready=st.booleans())
    def node(self, ready: bool) -> None:
        scene = self.world.scene
        self.world.scene = scene.seeing(nodes={"node-1": Node(ready, scene.seen.now)})

    @rule(which=st.sampled_from(["servers", "workers", "evaluator"]))
    def a_person_deletes_a_child(self, which: str) -> None:
        child = getattr(self.world.scene.seen, which)
        if child is not None:
            self.world._set(**{which: replace(child, deleting=True)})

    @invariant()
    def a_verdict_is_final(self) -> None:
        now = next(
            (k for k in (Condition.COMPLETE, Condition.FAILED) if self.world.scene.observed().holds(k)), ""
        )
        assert not self.verdict or now == self.verdict
        self.verdict = now

    def _is_safe(self, actions: tuple[object, ...]) -> None:
        seen = self.world.scene.observed()
        for action in actions:
            starts = (isinstance(action, Apply) and action.child.stage == "worker") or (
                isinstance(action, ApplyLive)
                and action.kind == "Job"
                and action.spec.get("suspend") is False
                and seen.workers is not None
                and seen.workers.suspended
            )
            assert not starts or seen.servers_ready, "workers start only when all servers are ready"
            removes = isinstance(action, Delete) and action.kind == "StatefulSet"
            assert not removes or seen.finished or seen.servers_stopped, "running servers are never replaced"

    def teardown(self) -> None:
        """With the faults over, the job comes to rest."""
        world = self.world
        world._set(nodes={"node-1": Node(True, world.scene.seen.now)})
        for _ in range(PASSES):
            while world.controllers():
                pass
            world.serve()
            found = world.look()
            if not found.actions and found.status == world.scene.seen.status:
                break
            self._is_safe(found.actions)
            world.act(found)
            world.pass_time(1)
        found = world.look()
        assert (found.actions, found.events) == ((), ())
        assert found.status == world.scene.seen.status
        # NB: servers that had not stopped when the job was edited and resumed go on by what they have read; so does it.
        if (
            found.status is not None
            and found.status["phase"] == "Running"
            and not pinned(world.scene.observed())
        ):
            evaluator = world.scene.seen.evaluator
            there = [evaluator.spec_hash] if evaluator is not None else []
            assert there == self._evaluators(), "it has the evaluator that its spec asks for, or none"

    def _evaluators(self) -> list[str]:
        return [item.spec_hash for item in self.world.scene.wanted() if item.stage == "evaluator"]


AnyInterleaving.TestCase.settings = settings(max_examples=examples(60), stateful_step_count=40, deadline=None)
TestAnyInterleavingComesToRest = AnyInterleaving.TestCase
