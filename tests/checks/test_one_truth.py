"""A run, the simulator and a replay tell the same of one job: staleness, verdicts and weights, to the bit.

All three drive the same cores. Real processes are compared in tests/local/test_one_truth.py.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from asgd.server import service
from tests.checks.recorded import Ending, replay, run, simulate
from tests.checks.test_a1_processes import one_thread
from tests.checks.virtual import job

SPOILED = "tests.checks.spoiled_digits:task"
OWN = "tests.checks.own_digits:"
ONE_BY_ONE: dict[str, Any] = {"exchange": {"lane": "zmq"}}
"""Other lanes serve what has come over several connections before it is looked whether a round can close."""
CASES: dict[str, dict[str, Any]] = {
    "ahead 0": {},
    "ahead 1": {"exchange": {"ahead": 1}},
    "clipped": {"optimizer": {"learningRate": 0.1, "clipNorm": 0.5}},
    "local steps": {"exchange": {"fetchEvery": 4, "pushEvery": 4}},
    "local steps, ahead 1": {"exchange": {"fetchEvery": 4, "pushEvery": 4, "ahead": 1}},
    "fetched less often than pushed": {"exchange": {"fetchEvery": 4, "pushEvery": 1}},
    "Refuse": {"exchange": {"staleness": {"max": 0, "policy": "Refuse"}}},
    "Refuse, ahead 1": {"exchange": {"ahead": 1, "staleness": {"max": 0, "policy": "Refuse"}}},
    "Scale": {"exchange": {"staleness": {"max": 0, "policy": "Scale"}}},
    "Scale, ahead 1": {"exchange": {"ahead": 1, "staleness": {"max": 1, "policy": "Scale"}}},
    "Wait": {"exchange": {"staleness": {"max": 1, "policy": "Wait"}}},
    "Wait, ahead 1": {"exchange": {"ahead": 1, "staleness": {"max": 1, "policy": "Wait"}}},
    "staleness-aware, ahead 1": {"algorithm": {"name": "staleness-aware"}, "exchange": {"ahead": 1}},
    "downpour": {"algorithm": {"name": "downpour"}, "exchange": {"fetchEvery": 3, "pushEvery": 3}},
    "easgd": {"algorithm": {"name": "easgd", "period": 3}},
    "local-sgd": {"algorithm": {"name": "local-sgd", "period": 5}},
    "local-sgd, ahead 1": {"algorithm": {"name": "local-sgd", "period": 5}, "exchange": {"ahead": 1}},
    "diloco": {"algorithm": {"name": "diloco", "period": 5}},
    "delay": {"algorithm": {"name": "streaming-diloco", "period": 8, "fragments": 2, "delay": 2}},
    "sync": {"algorithm": {"name": "sync"}},
    "elastic, ahead 1": {"algorithm": {"name": "elastic"}, "exchange": {"ahead": 1, "lane": "zmq"}},
    "lsgd": {"algorithm": {"name": "lsgd", "period": 5}},
    "lsgd, two groups": {"algorithm": {"name": "lsgd", "period": 2, "globalPeriod": 4, "groups": 2}},
    "adamw": {"optimizer": {"name": "adamw", "learningRate": 1e-3}},
    "lion, local steps": {
        "optimizer": {"name": "lion", "learningRate": 1e-3},
        "exchange": {"fetchEvery": 4, "pushEvery": 4},
        "outerOptimizer": {"name": "rmsprop", "learningRate": 1e-3},
    },
    "Task.optimizer": {
        "entrypoint": OWN + "adamw",
        "args": {},
        "algorithm": {"name": "local-sgd", "period": 5},
    },
    "bfloat16": {"entrypoint": OWN + "half", "args": {}},
    "bfloat16, Task.optimizer": {"entrypoint": OWN + "half_adamw", "args": {}, "exchange": {"pushEvery": 4}},
    "nan": {"entrypoint": SPOILED},
    "nan, ahead 1": {"entrypoint": SPOILED, "exchange": {"ahead": 1}},
    "nan, local-sgd": {"entrypoint": SPOILED, "algorithm": {"name": "local-sgd", "period": 5}} | ONE_BY_ONE,
    "nan, easgd": {"entrypoint": SPOILED, "algorithm": {"name": "easgd", "period": 3}} | ONE_BY_ONE,
    "nan, sync": {"entrypoint": SPOILED, "algorithm": {"name": "sync"}} | ONE_BY_ONE,
}


REFUSING = ("Refuse, ahead 1", "sync, ahead 1")
"""What gives ranges back even with one worker: whether in time for its next lease, is chance."""


@pytest.fixture(autouse=True)
def _one_message_after_the_other(monkeypatch: pytest.MonkeyPatch) -> None:
    """A busy server serves several messages before it looks whether a round can close, and a log tells not how many.

    The simulator's serves one. It matters where a worker that is refused is no longer waited for: sync with ahead 1.
    """
    monkeypatch.setattr(service, "BATCH", 1)


def agree(spec: dict[str, Any], folder: Path) -> Ending:
    one = job(evaluation={"everySeconds": 0}, **spec)
    with one_thread():
        real, recording = run(one, folder)
        simulated = simulate(one, recording)
        replayed = replay(recording)
    assert real.staleness == simulated.staleness == replayed.staleness
    assert real.refused == simulated.refused == replayed.refused
    assert real.versions == simulated.versions == replayed.versions
    assert real.weights == simulated.weights
    assert real.weights == replayed.weights
    return real


@pytest.mark.parametrize("case", CASES)
def test_of_one_worker_a_run_the_simulator_and_a_replay_agree(case: str, tmp_path: Path) -> None:
    stop: dict[str, Any] = {"updates": 40} if case in REFUSING else {"epochs": 1}
    # What another shard refuses depends on when it hears of a round's end, where refusing ends rounds.
    shards = 1 if case == "sync, ahead 1" else 2
    real = agree(
        {"workers": {"replicas": 1}, "parameterServer": {"shards": shards}, "stopAfter": stop} | CASES[case],
        tmp_path,
    )
    # The batch that holds it is tried twice.
    assert real.refused[0]["nonfinite"] == (2 if case.startswith("nan") else 0)


@pytest.mark.parametrize("case", CASES)
def test_of_three_workers_they_agree_when_the_simulator_goes_in_the_run_s_order(
    case: str, tmp_path: Path
) -> None:
    agree({"workers": {"replicas": 3}, "stopAfter": {"updates": 40}} | CASES[case], tmp_path)


def test_with_ahead_1_a_gradient_is_one_version_older_than_what_it_moves(tmp_path: Path) -> None:
    one = job(workers={"replicas": 1}, stopAfter={"updates": 30}, exchange={"ahead": 1})
    with one_thread():
        real, recording = run(one, tmp_path)
        simulated = simulate(one, recording)
    assert real.staleness == simulated.staleness == [{0: 1, 1: real.versions[0] - 1}]
