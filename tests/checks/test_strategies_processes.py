"""E3, D2 and a round-based strategy over real processes and sockets, the last with everything killed once."""

from __future__ import annotations

import json
import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from itertools import pairwise
from pathlib import Path
from threading import Barrier
from typing import Any

import numpy as np
import pytest

from asgd.algorithms.easgd import EasgdWorker
from asgd.algorithms.leader import LeaderWorker
from asgd.worker.sending.heartbeat import Heartbeat
from tests import warm
from tests.checks.processes import PATIENCE_SECONDS, SIZE, Processes, centre_of, push_of
from tests.effort import first

ROOT = Path(__file__).resolve().parents[2]


def spec(**algorithm: Any) -> dict[str, Any]:
    return {
        "entrypoint": "nobody:asks",
        "algorithm": algorithm,
        "stopAfter": {"updates": 1000},
        "parameterServer": {"shards": 2},
    }


def test_d2_delayed_nesterov_over_sockets(tmp_path: Path) -> None:
    with Processes(tmp_path, spec(name="async-diloco", buffer=4)) as run:
        centres = [centre_of(run, index) for index in range(4)]
        pulled = np.empty(SIZE, np.float32)
        for centre in centres:
            centre.join(lambda: np.zeros(SIZE, np.float32))
            centre.pull(pulled)
        ends = []
        for turn in range(8):
            centre = centres[turn % 4]
            centre.exchange(np.full(SIZE, -1.0, np.float32), pulled, push_of(centre))
            assert (pulled == pulled[0]).all()
            ends.append(float(pulled[0]))
        assert ends[:4] == pytest.approx([-0.175, -0.35, -0.525, -1.33], rel=1e-6)
        assert ends[7] == pytest.approx(-3.227, rel=1e-6)
        for centre in centres:
            centre.leave()


def test_e3_elastic_force_over_sockets(tmp_path: Path) -> None:
    with Processes(tmp_path, spec(name="easgd", beta=0.225, period=1)) as run:
        centre, worker = centre_of(run, 0), EasgdWorker(run.job.spec)
        centre.join(lambda: np.full(SIZE, 4.0, np.float32))
        pulled = np.empty(SIZE, np.float32)
        centre.pull(pulled)
        w = np.full(SIZE, 2.0, np.float32)
        worker.joined(w)
        still, distances = np.zeros(SIZE, np.float32), [2.0]
        for step in range(1, 7):
            worker.step(w, still, 0.1)
            assert worker.turn(step).push
            sent = worker.outgoing(w, still).copy()
            meta = push_of(centre)
            meta.meta = worker.meta()
            worker.workers = centre.exchange(sent, pulled, meta).workers
            worker.incoming(w, pulled)
            distances.append(float(abs(w[0] - pulled[0])))
            assert w[0] + pulled[0] == pytest.approx(6.0, rel=1e-6)
        for before, after in pairwise(distances):
            assert after == pytest.approx(0.55 * before, rel=1e-4)
        centre.leave()


def rows(output: Path) -> list[dict[str, Any]]:
    path = output / "processes.json"
    found: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return found


def kill(output: Path, role: str, index: int) -> None:
    pid = next(row["pid"] for row in rows(output) if (row["role"], row["index"]) == (role, index))
    os.kill(pid, signal.SIGKILL)


def updates(output: Path) -> int:
    path = output / "history.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    return max((line.get("updates", 0) for line in lines), default=0)


def wait_for(output: Path, count: int, run: warm.AnyProcess) -> None:
    while updates(output) < count:
        assert run.poll() is None
        time.sleep(0.1)


def lead(run: Processes, index: int, rounds: int, together: Barrier) -> float:
    """Worker `index` starts at index + 1, has no gradients and a loss that is its weight; ends there."""
    centre, worker = centre_of(run, index, split=True), LeaderWorker(run.job.spec)
    centre.join(lambda: np.full(SIZE, 9.0, np.float32))
    pulled, still = np.empty(SIZE, np.float32), np.zeros(SIZE, np.float32)
    w = np.full(SIZE, index + 1.0, np.float32)
    worker.joined(w)
    heartbeat = Heartbeat(run.config(index).servers[0], None, centre.identity)
    heartbeat.start()
    together.wait()
    for step in range(1, rounds + 1):
        worker.step(w, still, 0.1)
        turn = worker.turn(step)
        while turn.push or turn.pull:
            sent = worker.outgoing(w, still)
            meta = push_of(centre)
            meta.steps, meta.bare, meta.loss = int(sent is None), sent is None, float(w[0])
            outcome = centre.exchange(sent, pulled if turn.pull else None, meta)
            worker.notes = outcome.notes
            if turn.pull and not outcome.empty:
                worker.incoming(w, pulled)
            turn = worker.follow()
    together.wait()
    heartbeat.close()
    centre.leave()
    return float(w[0])


def test_l4_a_round_of_leader_sgd_carries_one_model_up_and_three_down_over_sockets(tmp_path: Path) -> None:
    rounds = 5
    together = Barrier(4, timeout=PATIENCE_SECONDS)
    with Processes(tmp_path, spec(name="lsgd", period=1, prox=0)) as run, ThreadPoolExecutor(4) as pool:
        ends = list(pool.map(lambda index: lead(run, index, rounds, together), range(4)))
        model = 4 * SIZE
        status = run.until(lambda now: now.bytes_received >= rounds * model)
        assert ends == pytest.approx([1.0] + [1 + place * 0.9**rounds for place in (1, 2, 3)], rel=1e-5)
        status = run.until(lambda now: now.bytes_sent >= 3 * rounds * model)
        assert (status.bytes_received, status.bytes_sent) == (rounds * model, 3 * rounds * model)
        assert status.updates == 4 * rounds


@pytest.mark.timeout(300)
@pytest.mark.parametrize(
    ("name", "counts"),
    first([("sync", (300, 1000, 2000)), ("lsgd", (80, 250, 450)), ("neuroevolution", (60, 170, 300))], 0),
)
def test_rounds_go_on_when_a_worker_and_both_shards_are_killed(
    tmp_path: Path, name: str, counts: tuple[int, ...]
) -> None:
    output = tmp_path / "run"
    settings = ["parameterServer.shards=2", "checkpoint.everySeconds=1"]
    command = ["run", str(ROOT / f"examples/strategies/{name}.yaml"), "--quiet", "--output", str(output)]
    for setting in settings:
        command += ["--set", setting]
    with (tmp_path / "said").open("wb") as said, warm.start(command, said, said) as run:
        victims = (("worker", 1), ("server", 1), ("server", 0))
        for count, (role, index) in zip(counts, victims, strict=True):
            wait_for(output, count, run)
            kill(output, role, index)
        assert run.wait(240) == 0
    told = json.loads((output / "summary.json").read_text())
    assert told["stopReason"] == "epochs" and told["metrics"]["accuracy"] >= 0.95
    assert told["restarts"]["server"] >= 2
