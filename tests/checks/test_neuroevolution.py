"""algorithms.md section 8: our reconstruction of neuroevolution with hierarchical cluster-based suppression."""

from __future__ import annotations

import json
from collections.abc import Sequence
from itertools import permutations
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.base import Contribution, Push, ShardState
from asgd.algorithms.hierarchy import clusters, cosines
from asgd.algorithms.neuroevolution import NeuroevolutionServer, NeuroevolutionWorker
from asgd.algorithms.rounds import Decision
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.spec.types import JobSpec
from asgd.worker.shared import TorchWork
from asgd.world.models import ComputeTime, World
from tests.checks.virtual import Problem, job, train
from tests.effort import first
from tests.unit.server.peers import make_shard

BLOCKS = [0, 3, 7]


def spec(**own: Any) -> JobSpec:
    return job(algorithm={"name": "neuroevolution", **own}, workers={"replicas": 8}).spec


def generation(
    server: NeuroevolutionServer, updates: Sequence[Any], fitness: Sequence[float]
) -> tuple[list[F32], Decision]:
    """What is left of the updates of a generation that began at ones, and what was decided."""
    size = BLOCKS[-1]
    state = ShardState(np.ones(size, np.float32), {}, np.empty(size, np.float32), blocks=BLOCKS)
    given = []
    for worker, (update, loss) in enumerate(zip(updates, fitness, strict=True)):
        state.slots[f"individual-{worker}"] = np.ones(size, np.float32)
        state.facts.setdefault("made", {})[str(worker)] = 1
        push = Push(worker, 1, 0, 0, 1, 8, 25, meta={"fitness": loss, "generation": 1.0})
        given.append(Contribution(push, np.float32(1) + np.asarray(update, np.float32), complete=True))
    decision = server.decide(state, [part.push for part in given], server.measure(state, given))
    server.close(state, given, json.loads(json.dumps(decision)))
    assert decision["best"] is None or (state.weights == state.slots[f"individual-{decision['best']}"]).all()
    return [state.slots[f"individual-{worker}"] - np.float32(1) for worker in range(len(given))], decision


def test_n1_of_four_identical_updates_only_the_best_moves() -> None:
    update = np.array([0.5, 0.25, -0.5, 0, 1, 0, 0.125])
    left, _ = generation(
        NeuroevolutionServer(spec(suppression=1, replaced=0)), [update] * 4, [0.4, 0.1, 0.3, 0.2]
    )
    assert (left[1] == update).all()
    for other in (0, 2, 3):
        assert left[other] == pytest.approx(np.zeros(7), abs=3e-7)


def test_n1_blocks_are_judged_apart() -> None:
    same, other = np.array([1.0, 1, 0]), np.array([1.0, -1, 0])
    updates = [np.concatenate([same, tail]) for tail in np.eye(4)]
    left, _ = generation(NeuroevolutionServer(spec(suppression=1, replaced=0)), updates, [1, 2, 3, 4])
    for worker in (1, 2, 3):
        assert left[worker][:3] == pytest.approx(np.zeros(3), abs=3e-7)
        assert (left[worker][3:] == np.eye(4)[worker]).all()
    updates[1][:3] = other
    left, _ = generation(NeuroevolutionServer(spec(suppression=1, replaced=0)), updates, [1, 2, 3, 4])
    assert (left[1] == updates[1].astype(np.float32)).all()


def test_n1_without_suppression_workers_are_independent_sgd_to_the_bit() -> None:
    start = np.linspace(1, 2, 5)
    rules = {"name": "neuroevolution", "suppression": 0, "replaced": 0, "period": 5}
    bowl = Problem(start, lambda w, i: w * np.float32(i + 1), lambda w: float(w[0]))
    # The last answer comes with the word to stop, and nothing has to be taken in any more.
    run = train(bowl, algorithm=rules, stopAfter={"updates": 30}, workers={"replicas": 3})
    for index, one in run.workers.items():
        expected = start.astype(np.float32)
        for _ in range(one.core.steps):
            expected += expected * np.float32(index + 1) * np.float32(-0.1)
        assert one.core.steps >= 50 and one.weights.tobytes() == expected.tobytes()


def bundles() -> Any:
    """Six vectors in two bundles: cosine about .99 inside, 0 across."""
    random = np.random.default_rng(0)
    base = np.zeros((6, 40))
    base[:3, 0] = base[3:, 1] = 1.0
    base[:, 2:] = 0.1 * np.linalg.qr(random.standard_normal((38, 6)))[0].T
    return base


def test_n2_two_tight_bundles_are_two_clusters_in_any_order() -> None:
    vectors = bundles()
    alike = cosines(vectors @ vectors.T)
    assert alike[0, 1] == pytest.approx(0.99, abs=0.001) and abs(alike[0, 3]) < 1e-9
    assert clusters(alike, 0.5) == [[0, 1, 2], [3, 4, 5]]
    for order in permutations(range(6)):
        found = clusters(alike[np.ix_(order, order)], 0.5)
        assert sorted(sorted(order[i] for i in cluster) for cluster in found) == [[0, 1, 2], [3, 4, 5]]


def test_n2_the_threshold_says_what_belongs_together() -> None:
    vectors = bundles()
    alike = cosines(vectors @ vectors.T)
    assert len(clusters(alike, 0.999)) == 6 and len(clusters(alike, -0.5)) == 1


class Watched(NeuroevolutionServer):
    """Notes, for each generation, mean pairwise cosines before and after, and the best's weights before and after."""

    seen: list[tuple[float, float, bool]]

    def close(self, state: ShardState, given: Sequence[Contribution], decision: Decision) -> None:
        updates = [self._update(state, part) for part in given]
        bases = [part.vector - update for part, update in zip(given, updates, strict=True)]
        sent = {part.push.worker: part.vector.copy() for part in given}
        super().close(state, given, decision)
        after = [
            state.slots[f"individual-{part.push.worker}"] - base
            for part, base in zip(given, bases, strict=True)
        ]
        best = decision["best"]
        assert best not in {offer["worker"] for offer in decision["offers"]}
        assert (state.weights == sent[best]).all()
        self.seen.append((alikeness(updates), alikeness(after), any(decision["losses"])))


def alikeness(updates: Sequence[F32]) -> float:
    found = cosines(np.array([[float(a @ b) for b in updates] for a in updates]))
    return float(found[np.triu_indices(len(updates), 1)].mean())


@pytest.mark.timeout(300)
@pytest.mark.parametrize("strength", first([0.5, 1.0]))
def test_n3_n4_suppression_makes_updates_less_alike_and_evolution_leaves_the_best_as_it_is(
    strength: float,
) -> None:
    made = job(
        algorithm={"name": "neuroevolution", "suppression": strength}, stopAfter={"updates": 80},
        workers={"replicas": 8}, evaluation={"everySeconds": 100_000},
    )  # fmt: skip
    run = Simulation(made, TorchWork(made.spec), World(compute=ComputeTime("constant", 1.0)))
    server = run.cluster.servers[0]
    watched = Watched(made.spec)
    watched.seen = []
    server.shard.strategy = watched
    assert server.core is not None and server.core.rounds is not None
    server.core.rounds.part.strategy = watched
    run.run()
    suppressed = [(before, after) for before, after, lost in watched.seen if lost]
    assert len(suppressed) >= 8
    assert all(after < before for before, after in suppressed)


def test_a_worker_keeps_the_fitter_of_child_and_itself_says_which_and_drops_the_momentum_of_the_other() -> (
    None
):
    made = job(algorithm={"name": "neuroevolution"}, optimizer={"learningRate": 0.1, "momentum": 0.9}).spec
    for child, accepted in ((0.5, True), (2.0, False)):
        worker = NeuroevolutionWorker(made)
        worker.judge = lambda w: abs(float(w[0]))
        w = np.ones(3, np.float32)
        worker.joined(w)
        worker.step(w, np.ones(3, np.float32), 0.1)
        w[:] = 1
        worker.outgoing(w, w)
        worker.notes = {"offer": 1.0, "generation": 4.0}
        worker.incoming(w, np.full(3, child, np.float32))
        assert float(w[0]) == (child if accepted else 1.0)
        assert worker.meta() == {"fitness": 1.0, "accepted": float(accepted), "generation": 4.0}
        before = w.copy()
        worker.step(w, np.zeros(3, np.float32), 0.1)
        assert np.array_equal(w, before) is accepted, "what moves without a gradient has its momentum still"


def test_the_worst_quarter_is_offered_children_of_the_better_half_and_nothing_is_taken_from_it() -> None:
    update = np.arange(1, 8) / 7
    _, decision = generation(NeuroevolutionServer(spec()), [update] * 8, [8, 1, 7, 2, 6, 3, 5, 4])
    assert {offer["worker"] for offer in decision["offers"]} == {0, 2} and decision["best"] == 1
    assert all(set(offer["parents"]) <= {1, 3, 5, 7} for offer in decision["offers"])
    assert not {loss[0] for losses in decision["losses"] for loss in losses} & {0, 1, 2}


@pytest.mark.parametrize("crossover", ["mean", "blocks"])
def test_children_and_all_else_are_the_same_over_any_number_of_shards(crossover: str) -> None:
    bowl = Problem(np.linspace(1, 2, 64), lambda w, i: w * np.float32(1 + 0.01 * i), lambda w: float(w[0]))
    bowl.tensors = json.dumps([["a.weight", [30]], ["a.bias", [2]], ["b.weight", [32]]]).encode()
    ends = []
    for shards in (1, 3):
        run = train(
            bowl,
            algorithm={"name": "neuroevolution", "period": 2, "crossover": crossover},
            stopAfter={"updates": 64},
            workers={"replicas": 8},
            parameterServer={"shards": shards},
        )
        assert run.cluster.servers[0].shard.state.blocks == [0, 32, 64]
        ends.append([one.weights for one in run.workers.values()])
    assert np.allclose(*ends, rtol=1e-5, atol=0)


def test_a_restored_shard_has_its_individuals_again() -> None:
    made = spec()
    shard = make_shard(made)
    shard.strategy = NeuroevolutionServer(made)
    shard.allocate(4, "layout")
    shard.state.slots["individual-3"] = np.full(4, 3.0, np.float32)
    shard.state.facts = {"made": {"3": 7}, "generation": 7}
    fresh = make_shard(made, term=2)
    fresh.strategy = NeuroevolutionServer(made)
    fresh.restore(4, "layout", shard.arrays(), json.loads(json.dumps(shard.meta())))
    assert (fresh.strategy.answer(fresh.state, slice(0, 4), 3) == 3).all()
    assert fresh.strategy.notes(fresh.state, 3) == {"generation": 7.0, "offer": 0.0}


def test_the_probe_set_is_taken_out_of_training() -> None:
    work = TorchWork(spec())
    assert work.probe is not None and work.dataset == 1437 - 256
    probed = {row.numpy().tobytes() for batch, _ in work.probe.batches for row in batch[0]}
    rows = {work.task.data[index][0].numpy().tobytes() for index in range(len(work.task.data))}
    assert sum(samples for _, samples in work.probe.batches) == 256
    assert len(probed & rows) <= 2  # some digits are in the set twice
