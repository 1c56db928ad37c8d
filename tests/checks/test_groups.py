"""Parameter groups: each element moves by its own group's hyper-parameters, in every strategy, wherever shards end."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.kernel import F32
from asgd.world.models import ComputeTime, World
from tests.checks.crossings import STRATEGIES
from tests.checks.virtual import Problem, train

pytestmark = pytest.mark.timeout(120)

TENSORS = b'[["body.weight", [2, 3]], ["body.bias", [2]], ["head.weight", [1, 3]], ["head.bias", [1]]]'
BIAS, HEAD, REST = [6, 7, 11], [8, 9, 10], [0, 1, 2, 3, 4, 5]
SIZE = 12
WORLD = World(compute=ComputeTime("constant", 1 / 16))
GROUPS = [
    {"match": ["*.bias", "*norm*"], "weightDecay": 0},
    {"match": "head.*", "learningRate": "2x", "weightDecay": 0.25},
]
DECAY = 0.125
MORE: dict[str, dict[str, Any]] = {
    "asgd, momentum": {"optimizer": {"learningRate": 0.05, "momentum": 0.5}},
    "asgd, adam": {"optimizer": {"name": "adam", "learningRate": 0.05}},
    "asgd, local adam": {
        "exchange": {"pushEvery": 4, "fetchEvery": 4}, "optimizer": {"name": "adam", "learningRate": 0.05},
        "outerOptimizer": {"momentum": 0.5, "learningRate": 0.25},
    },
    "asgd, ahead": {"exchange": {"ahead": 1}, "optimizer": {"learningRate": 0.05}},
    "dc-asgd, adaptive": {"algorithm": {"adaptive": True}, "optimizer": {"learningRate": 0.05, "momentum": 0.5}},
    "downpour, local steps": {
        "exchange": {"pushEvery": 4, "fetchEvery": 2}, "optimizer": {"learningRate": 0.05}
    },
    "easgd, synchronous": {"algorithm": {"period": 4, "synchronous": True}, "optimizer": {"learningRate": 0.1}},
    "lsgd, asynchronous": {"algorithm": {"period": 4, "asynchronous": True}, "optimizer": {"learningRate": 0.05}},
    "staleness-aware, softsync": {"algorithm": {"softsync": 1}, "optimizer": {"learningRate": 0.1}},
    "sync, nesterov": {"optimizer": {"learningRate": 0.05, "momentum": 0.5, "nesterov": True}},
}  # fmt: skip
"""Forms of strategies in which something else applies the rule, or the rule keeps more."""
ALL = STRATEGIES | MORE
BY_THE_JOBS_RATE = ("elastic", "parle")
"""Their workers are drawn together by the job's rate, whatever a group's is."""


class Separable(Problem):
    """Each element has a gradient that no other element takes part in; all workers have the same one."""

    tensors = TENSORS

    def __init__(self) -> None:
        curves = np.linspace(0.5, 1.5, SIZE, dtype=np.float32)
        aims = np.linspace(-1, 1, SIZE, dtype=np.float32)
        super().__init__(np.ones(SIZE), lambda w, worker: curves * (w - aims))


def fields_of(strategy: str) -> dict[str, Any]:
    name = strategy.split(",")[0]
    fields: dict[str, Any] = {
        "stopAfter": {"updates": 30}, "batchSize": 1, "workers": {"replicas": 3}, "evaluation": {"everySeconds": 0},
    }  # fmt: skip
    fields |= ALL[strategy]
    if name == "krum":
        fields["workers"] = {"replicas": 5}
    fields["algorithm"] = {"name": name, **fields.get("algorithm", {})}
    schedule = {"name": "cosine", "length": 60, "final": 0.5, "unit": "samples"}
    fields["optimizer"] = {**fields["optimizer"], "weightDecay": DECAY, "schedule": schedule}
    return fields


def answer(strategy: str, **optimizer: Any) -> F32:
    fields = fields_of(strategy)
    fields["optimizer"] = {**fields["optimizer"], **optimizer}
    fields["parameterServer"] = {"shards": 3}
    return train(Separable(), WORLD, **fields).answer()


@pytest.mark.parametrize("strategy", ALL)
def test_each_group_goes_where_a_job_goes_that_has_its_hyper_parameters_for_all(strategy: str) -> None:
    """A shard has four elements, so that it begins and ends within groups."""
    groups, rate = [dict(group) for group in GROUPS], fields_of(strategy)["optimizer"]["learningRate"]
    head = {"weightDecay": 0.25, "learningRate": 2 * rate}
    if strategy in BY_THE_JOBS_RATE:
        del groups[1]["learningRate"], head["learningRate"]
    found = answer(strategy, groups=groups)
    assert np.abs(found - 1).max() > 0.01
    for elements, alone in ((BIAS, {"weightDecay": 0}), (HEAD, head), (REST, {})):
        expected = answer(strategy, **alone)
        assert np.array_equal(found[elements], expected[elements]), f"{elements}: {alone}"
    assert not np.array_equal(found[HEAD], expected[HEAD])
    assert not np.array_equal(found[BIAS], expected[BIAS])


@pytest.mark.parametrize("strategy", ["sync", "sync, nesterov", "asgd", "local-sgd"])
def test_weight_decay_of_a_group_alone_leaves_the_others_without(strategy: str) -> None:
    found = answer(strategy, weightDecay=0, groups=[{"match": "head.*", "weightDecay": 0.25}])
    decaying, others = [*HEAD, 11], [*REST, 6, 7]
    assert np.array_equal(found[decaying], answer(strategy, weightDecay=0.25)[decaying])
    assert np.array_equal(found[others], answer(strategy, weightDecay=0)[others])
