"""algorithms.md section 9: Streaming DiLoCo, which is DiLoCo one fragment at a time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.base import Push, ShardState
from asgd.algorithms.streaming import StreamingServer, StreamingWorker
from asgd.wire.partition import part_slices
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.processes import SIZE, Processes, centre_of, push_of
from tests.checks.virtual import Problem, job, train
from tests.effort import first

UNEVEN = World(compute=ComputeTime("lognormal", 1.0, 0.3), latency=0.05)


def bowl(size: int = 601) -> Problem:
    return Problem(np.linspace(1, 2, size), lambda w, i: w * np.float32(1 + 0.01 * i))


def spec(shards: int = 1, updates: int = 240, **algorithm: Any) -> dict[str, Any]:
    return {
        "algorithm": algorithm,
        "stopAfter": {"updates": updates},
        "optimizer": {"learningRate": 0.01, "momentum": 0.9},
        "parameterServer": {"shards": shards},
    }


@pytest.mark.parametrize("shards", first([1, 3]))
def test_one_fragment_without_delay_and_with_mix_1_is_diloco_to_the_bit(shards: int) -> None:
    diloco = train(bowl(), UNEVEN, **spec(shards, name="diloco", period=7))
    whole = {"name": "streaming-diloco", "period": 7, "fragments": 1, "delay": 0, "mix": 1}
    assert train(bowl(), UNEVEN, **spec(shards, **whole)).answer().tobytes() == diloco.answer().tobytes()


@pytest.mark.parametrize("shards", [1, 2])
@pytest.mark.parametrize("fragments", [1, 3, 4])
def test_an_exchange_carries_one_fragment_each_way(fragments: int, shards: int) -> None:
    run = train(bowl(1200), **spec(shards, name="streaming-diloco", period=12, fragments=fragments))
    status = run.cluster.status()
    fragment = 4 * 1200 // fragments
    assert status.bytes_received == status.updates * fragment
    # The two pulls of each worker before its first step are about the whole model; the last is left out by who hears
    # of the end.
    pulls = status.bytes_sent / fragment - 2 * 4 * fragments
    assert status.updates - 4 <= pulls <= status.updates


def test_every_fragment_rests_a_period_and_all_of_them_move() -> None:
    run = train(bowl(), **spec(updates=4 * 4 * 3, name="streaming-diloco", period=10, fragments=4))
    facts = run.cluster.servers[0].shard.state.facts
    assert facts["due"] == 0 and facts["closed"] == {"0": 36, "1": 40, "2": 44, "3": 48}
    assert (run.answer() < bowl().initial()).all()
    assert run.workers[0].rule.optimizer.steps in (30, 31), (
        "three periods, and the step that the last answer may take"
    )


@pytest.mark.parametrize("shards", [1, 3])
def test_whoever_dies_and_comes_back_joins_in_step(shards: int) -> None:
    world = World(compute=ComputeTime("constant", 1.0), deaths=(Mishap(1, 15.0, 10.0),))
    run = train(bowl(), world, **spec(shards, name="streaming-diloco", period=8, fragments=4))
    status = run.cluster.status()
    assert status.restarts["worker"] == 1 and status.stop_reason == "updates"
    assert status.refused.get("stale", 0) == 0 and status.staleness.max == 0
    assert np.abs(run.answer()).max() < 1


def worker(**algorithm: Any) -> StreamingWorker:
    made = StreamingWorker(job(algorithm={"name": "streaming-diloco", **algorithm}).spec)
    made.notes = {"due": 1.0}
    return made


def test_the_answer_is_mixed_with_what_the_worker_made_meanwhile() -> None:
    rule = worker(fragments=2, period=4, mix=0.25)
    w = np.array([1, 1, 1, 1], np.float32)
    rule.joined(w)
    w -= 0.5
    assert rule.outgoing(w, w).tolist() == [-0.5] * 4
    w -= 0.5
    rule.spans = part_slices(4, 1, rule.part, rule.parts)
    rule.incoming(w, np.array([9, 9, 2, 2], np.float32))
    assert w.tolist() == [0, 0, 0.5, 0.5], "3/4 of the worker's own 0, 1/4 of the servers' 2"
    assert (rule.outgoing(w, w)).tolist() == [-1, -1, -1.5, -1.5], (
        "a fragment's change is from what came last"
    )


def test_the_gaps_between_fragments_add_up_to_the_period() -> None:
    rule = worker(fragments=3, period=10, delay=0)
    rule.joined(np.zeros(6, np.float32))
    gaps = []
    for part in range(3):
        rule.part, rule.since = part, 0
        while not rule.turn(0).push:
            rule.since += 1
        gaps.append(rule.since)
    assert gaps == [3, 3, 4]


def test_a_fragment_over_sockets_moves_only_its_own_elements_of_every_shard(tmp_path: Path) -> None:
    document = {
        "entrypoint": "nobody:asks", "stopAfter": {"updates": 1000}, "parameterServer": {"shards": 2},
        "algorithm": {"name": "streaming-diloco", "fragments": 3, "outerMomentum": 0, "outerLearningRate": 1},
    }  # fmt: skip
    with Processes(tmp_path, document) as run:
        centre = centre_of(run, 0, split=True)
        centre.join(lambda: np.zeros(SIZE, np.float32))
        pulled = np.full(SIZE, 7.0, np.float32)
        centre.pull(pulled)
        assert (pulled == 0).all()
        before = run.until(lambda status: True).bytes_received
        for part in (0, 1, 1):
            meta = push_of(centre)
            meta.part, meta.parts = part, 3
            pulled[:] = 7
            outcome = centre.exchange(np.arange(1, SIZE + 1, dtype=np.float32), pulled, meta)
            spans = part_slices(SIZE, 2, part, 3)
            mine = np.concatenate([np.arange(SIZE)[span] for span in spans])
            times = 2 if part == 1 and outcome.samples == 24 else 1
            assert (pulled[mine] == times * (mine + 1)).all() and (np.delete(pulled, mine) == 7).all()
        # NB: shard 1 tells of its own half a moment later.
        run.until(lambda status: status.bytes_received - before >= 3 * 4 * SIZE // 3)
        assert run.until(lambda status: status.updates == 3).bytes_received - before == 3 * 4 * SIZE // 3
        centre.leave()


def test_a_fragment_computed_from_a_version_before_its_last_round_is_refused() -> None:
    rule = StreamingServer(job(algorithm={"name": "streaming-diloco", "fragments": 2}).spec)
    state = ShardState(np.zeros(4, np.float32), {}, np.zeros(4, np.float32), facts={"closed": {"1": 8}})

    def verdict(base: int, part: int) -> str:
        return rule.admit(Push(0, 1, base, 10 - base, 11, 1, 1, part=part, parts=2), state)

    assert (verdict(7, 1), verdict(8, 1), verdict(0, 0)) == ("stale", "", "")


def test_when_nobody_brings_the_fragment_that_is_due_the_one_that_most_bring_is_next() -> None:
    rule = StreamingServer(job(algorithm={"name": "streaming-diloco", "fragments": 4}).spec)
    state = ShardState(np.zeros(4, np.float32), {}, np.zeros(4, np.float32), facts={"due": 0})
    pushes = [Push(worker, 1, 0, 0, 1, 1, 1, part=part, parts=4) for worker, part in enumerate((2, 3, 3))]
    assert rule.decide(state, pushes, {}) == {"part": 3} and state.facts["due"] == 0
    assert rule.decide(state, [*pushes, Push(3, 1, 0, 0, 1, 1, 1, part=0, parts=4)], {}) == {"part": 0}
