"""algorithms.md section 7: SafeguardSGD, the rules beside it, and the attacks that they are to bear.

Safeguard is run under every attack with every seed of the note; the rules that lose with one seed an attack, which
`tools/robust_table.py` does with all.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.base import Push, ShardState
from asgd.algorithms.robust import krum, median, weiszfeld
from asgd.algorithms.safeguard import SafeguardServer
from asgd.drivers.virtual.simulation import Simulation
from asgd.kernel import F32
from asgd.report.summary import summarize
from asgd.server.metrics import collect
from asgd.spec.types import Byzantine
from asgd.worker.reading.leased import LeasedBatch
from asgd.worker.shared import TorchWork
from asgd.world.models import ComputeTime, Mishap, World
from tests.checks.robust import BYZANTINE, LATEST, DigitsWork, trained
from tests.checks.virtual import Problem, job, train
from tests.effort import first

SEEDS = range(4)


@cache
def guarded(attack: str, seed: int) -> tuple[float, dict[int, int]]:
    """A whole run of Safeguard."""
    return trained("safeguard", attack, seed)


def bowl() -> Problem:
    return Problem(np.linspace(1, 2, 64), lambda w, i: w * np.float32(1 + 0.01 * i))


@pytest.mark.parametrize("shards", [1, 3])
def test_g1_without_attack_it_is_the_synchronous_mean_to_the_bit(shards: int) -> None:
    spec = {"stopAfter": {"updates": 300}, "workers": {"replicas": 10}, "parameterServer": {"shards": shards}}
    sync = train(bowl(), algorithm={"name": "sync"}, **spec)
    safe = train(bowl(), algorithm={"name": "safeguard", "shortWindow": 5, "longWindow": 20}, **spec)
    assert safe.cluster.servers[0].shard.state.facts["rejected"] == []
    assert safe.answer().tobytes() == sync.answer().tobytes()


@pytest.mark.slow
def test_g1_a_clean_run_on_digits_stays_near_the_default_floors_and_tells_its_scores() -> None:
    spec = job(
        algorithm={"name": "safeguard"}, stopAfter={"updates": 5400}, workers={"replicas": 10},
        evaluation={"everySeconds": 100_000},
    )  # fmt: skip
    run = Simulation(spec, TorchWork(spec.spec), World(compute=ComputeTime("constant", 1.0)))
    while run.advance():
        assert run.cluster.servers[0].shard.state.facts.get("rejected", []) == []
    figures = run.cluster.status().strategy_figures
    assert figures["largestShort"] == pytest.approx(1.25, rel=0.25) and figures["shortFloor"] == 1.3
    assert figures["largestLong"] == pytest.approx(1.6, rel=0.25) and figures["longFloor"] == 1.1
    assert 0 < figures["gradientLength"] < 3


@pytest.mark.parametrize("seed", first(SEEDS))
@pytest.mark.parametrize(("attack", "latest"), first(LATEST.items(), 2))
def test_g2_all_attackers_are_caught_in_time_and_nobody_else_ever(
    attack: str, latest: int, seed: int
) -> None:
    accuracy, caught = guarded(attack, seed)
    assert set(caught) == set(BYZANTINE) and max(caught.values()) <= latest
    assert accuracy >= 0.94


@pytest.mark.parametrize(
    ("rule", "attack", "most", "seed"),
    first(
        [
            ("sync", "sign-flip", 0.93, 0),
            ("sync", "label-flip", 0.93, 1),
            ("krum", "zero", 0.3, 2),
            ("krum", "scaled", 0.3, 3),
            ("median", "zero", 0.935, 2),
        ]
    ),
)
def test_g3_others_lose_what_safeguard_keeps(rule: str, attack: str, most: float, seed: int) -> None:
    fields = {"byzantine": 3} if rule == "krum" else {}
    other, _ = trained(rule, attack, seed, **fields)
    assert other <= most and guarded(attack, seed)[0] >= other + 0.03


def products(points: Any) -> Any:
    array = np.asarray(points, np.float64)
    return array @ array.T


def test_g5_krum_takes_the_point_in_the_middle_of_the_cluster() -> None:
    points = [(0, 0), (0.1, 0), (0, 0.1), (0.1, 0.1), (0.05, 0.05), (10, 10), (10, 10.1)]
    assert krum(products(points), 2) == 4


def test_g5_medians_stay_within_the_honest_cluster_and_the_mean_does_not() -> None:
    honest = np.random.default_rng(1).normal(size=(6, 3))
    points = np.concatenate([honest, np.full((4, 3), 1e6)])
    diameter = max(np.linalg.norm(a - b) for a in honest for b in honest)
    geometric = weiszfeld(products(points)) @ points
    coordinate = median([row.astype(np.float32) for row in points])
    for point in (geometric, coordinate):
        assert np.linalg.norm(point - honest.mean(axis=0)) <= diameter
    assert np.linalg.norm(points.mean(axis=0) - honest.mean(axis=0)) > 1e5


@pytest.mark.parametrize("name", ["krum", "geometric-median", "median", "safeguard"])
def test_every_rule_gives_the_same_bits_over_any_number_of_shards(name: str) -> None:
    ends = [
        train(
            bowl(),
            algorithm={"name": name},
            stopAfter={"updates": 100},
            workers={"replicas": 10},
            parameterServer={"shards": shards},
        ).answer()
        for shards in (1, 3)
    ]
    assert np.allclose(*ends, rtol=1e-6)
    assert name in ("geometric-median",) or ends[0].tobytes() == ends[1].tobytes()


def test_a_worker_that_sends_nan_stops_nobody_and_spoils_nothing() -> None:
    world = World(compute=ComputeTime("constant", 1.0), attacks=(Byzantine("nan", (3,)),))
    done = train(
        bowl(), world, algorithm={"name": "sync"}, stopAfter={"updates": 90}, workers={"replicas": 4}
    )
    assert np.isfinite(done.answer()).all() and done.cluster.status().refused["nonfinite"] >= 20
    assert done.cluster.status().stop_reason == "updates"


def test_a_worker_that_died_and_came_back_is_not_taken_for_an_attacker() -> None:
    world = World(compute=ComputeTime("constant", 1.0), deaths=(Mishap(2, 50.0, 10.0),))
    spec = job(
        algorithm={"name": "safeguard", "shortWindow": 100, "longWindow": 200}, stopAfter={"updates": 1500},
        workers={"replicas": 10}, evaluation={"everySeconds": 100_000},
    )  # fmt: skip
    run = Simulation(spec, TorchWork(spec.spec), world)
    while run.advance():
        assert run.cluster.servers[0].shard.state.facts.get("rejected", []) == []
    assert run.cluster.status().restarts["worker"] == 1


def test_who_is_rejected_is_let_back_when_the_long_window_ends_and_stays_named() -> None:
    world = World(compute=ComputeTime("constant", 1.0), attacks=(Byzantine("inner", (3,)),))
    windows = {"shortWindow": 5, "longWindow": 20, "shortFloor": 0.1, "longFloor": 0.1}
    run = Simulation(
        job(algorithm={"name": "safeguard", **windows}, stopAfter={"updates": 350}, workers={"replicas": 10}),
        bowl(), world,
    )  # fmt: skip
    seen, facts = [], run.cluster.servers[0].shard.state.facts
    while run.advance():
        rejected = facts.get("rejected", [])
        if not seen or seen[-1] != rejected:
            seen.append(rejected)
    assert seen == [[], [3], [], [3]]
    status = run.cluster.status()
    assert (status.rejected_workers, status.ever_rejected) == ([3], [3])


def test_an_edit_that_shortens_the_long_window_lets_the_rejected_back() -> None:
    server = SafeguardServer(job(algorithm={"name": "safeguard", "shortWindow": 5, "longWindow": 10}).spec)
    state = ShardState(np.zeros(2, np.float32), {}, np.zeros(2, np.float32))
    state.facts = {"rejected": [1], "round": 200}
    pushes = [Push(worker, 1, 0, 0, 1, 1, 1) for worker in range(3)]
    still = np.eye(3)
    decision = server.decide(state, pushes, {"short": still, "long": still, "squares": np.ones(3)})
    assert decision["rejected"] == [] and decision["clear"]["long"]


@pytest.mark.parametrize("shards", [1, 3])
def test_noise_follows_the_seed_and_has_the_deviation_that_was_asked_for(shards: int) -> None:
    flat = Problem(np.zeros(3000), lambda w, i: np.zeros_like(w))
    spec = {"stopAfter": {"updates": 10}, "workers": {"replicas": 10}, "parameterServer": {"shards": shards}}
    noisy = {"name": "safeguard", "noise": 0.5}
    once, again, other = (train(flat, algorithm=noisy, seed=seed, **spec).answer() for seed in (1, 1, 2))
    assert once.tobytes() == again.tobytes() != other.tobytes()
    assert np.std(once) == pytest.approx(0.1 * 0.5, rel=0.05) and abs(np.mean(once)) < 0.005


class Small(DigitsWork):
    """Gradients a thousand times smaller, as of a loss in other units."""

    def gradient(self, worker: int, weights: F32, item: LeasedBatch, out: F32) -> float:
        loss = super().gradient(worker, weights, item, out)
        out *= np.float32(1e-3)
        return loss


@pytest.mark.parametrize("calibrate", [0, 60])
def test_liars_are_caught_however_small_gradients_are(calibrate: int) -> None:
    windows = {"shortWindow": 20, "longWindow": 60, "calibrate": calibrate}
    _, caught = trained("safeguard", "sign-flip", 0, 60 + calibrate, Small(0), 100, **windows)
    assert set(caught) == set(BYZANTINE)
    assert min(caught.values()) > calibrate and max(caught.values()) <= calibrate + 20


def test_floors_that_are_measured_are_told_and_nobody_is_judged_meanwhile() -> None:
    windows = {"shortWindow": 5, "longWindow": 20, "calibrate": 20}
    run = train(
        bowl(), World(compute=ComputeTime("constant", 1.0), attacks=(Byzantine("inner", (3,)),)),
        algorithm={"name": "safeguard", **windows}, stopAfter={"updates": 150}, workers={"replicas": 10},
    )  # fmt: skip
    status, server = run.cluster.status(), run.cluster.servers[0]
    figures = status.strategy_figures
    told = {family.name: family for family in collect(server.shard, server.traffic, 0)}
    samples = told["asgd_server_strategy"].samples
    assert {sample.labels["figure"]: sample.value for sample in samples} == figures
    assert summarize(status, run.job.spec).strategy_figures == figures
    for name in ("short", "long"):
        assert figures[f"{name}Limit"] == 2 * max(figures[f"{name}Score"], figures[f"{name}Floor"]) > 0
    assert figures["calibrationRoundsLeft"] == 5 and run.cluster.status().ever_rejected == []
