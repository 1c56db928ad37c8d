"""A shard learns which parameters are where by the hellos, before the first push, and after each restart anew."""

from __future__ import annotations

import numpy as np

from asgd.algorithms.registry import halves
from asgd.server.shard import Shard
from asgd.wire.messages import Exchange, Fault, Hello, Init, Reply, Welcome
from tests.checks.harness import job_spec

GROUPS = [{"match": "*.bias", "learningRate": "2x"}]
TENSORS = b'[["a.weight", [2]], ["a.bias", [1]]]'


def shard(term: int = 1) -> Shard:
    spec = job_spec(optimizer={"learningRate": 0.5, "groups": GROUPS})
    return Shard(spec, halves(spec).server(), 0, 1, term)


def hello(tensors: bytes) -> Hello:
    return Hello("check", "worker", 0, 1, 3, "layout", tensors=tensors)


def pushed(to: Shard) -> Reply | Fault:
    ones = memoryview(np.ones(3, np.float32).tobytes())
    push = Exchange(0, 1, to.state.version + 1, 0, to.state.version, 1, 1, False, True)
    return to.exchange(push, ones)


def begun() -> Shard:
    one = shard()
    assert isinstance(one.hello(hello(TENSORS)), Welcome)
    assert one.init(Init(0, 1, 0), memoryview(np.zeros(3, np.float32).tobytes())) is None
    return one


def test_each_element_of_a_push_moves_at_its_groups_rate() -> None:
    one = begun()
    assert isinstance(pushed(one), Reply)
    assert one.state.weights.tolist() == [-0.5, -0.5, -1.0]


def test_a_restored_shard_hears_the_names_before_it_takes_a_push() -> None:
    one = begun()
    pushed(one)
    again = shard(2)
    again.restore(3, "layout", one.arrays(), one.meta())
    assert isinstance(pushed(again), Fault)
    assert isinstance(again.hello(hello(TENSORS)), Welcome)
    assert isinstance(pushed(again), Reply)
    assert again.state.weights.tolist() == [-1.0, -1.0, -2.0]


def test_a_worker_that_tells_no_names_or_others_is_refused_by_a_sentence_about_the_groups() -> None:
    for tensors in (b"", b'[["a.weight", [3]]]'):
        answer = shard().hello(hello(tensors))
        assert isinstance(answer, Fault) and answer.code == "layout"
        assert answer.text.startswith("spec.optimizer.groups[0].match: *.bias matches no parameter"), (
            answer.text
        )
