"""Rules that look at whole tensors on a server: it steps when a push is whole, and shards end where tensors do."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.algorithms.base import Push, ServerStrategy, ShardState
from asgd.algorithms.gathering import shard_cuts
from asgd.algorithms.registry import halves, refuse_models
from asgd.errors import UserError
from tests.checks.harness import job_spec

SIZE = 12
MATRICES = [("a", [2, 3]), ("b", [3, 2])]
MUON: dict[str, Any] = {"optimizer": {"name": "muon", "learningRate": 0.1}}


def server(**spec: Any) -> tuple[ServerStrategy, ShardState]:
    made = halves(job_spec(**(MUON | spec))).server()
    made.describe(MATRICES)
    slots = {name: np.zeros(SIZE, np.float32) for name in made.slots}
    return made, ShardState(np.ones(SIZE, np.float32), slots, np.empty(SIZE, np.float32))


def push(sequence: int = 1, worker: int = 0) -> Push:
    return Push(worker, sequence, base=0, staleness=0, version=1, samples=1, steps=1)


def give(made: ServerStrategy, state: ShardState, of: Push, *spans: slice) -> None:
    gradient = np.arange(SIZE, dtype=np.float32) - 4
    for span in spans:
        made.apply(state, span, of, gradient[span])
        of.applied += span.stop - span.start


def stepped() -> Any:
    """The weights after one push that came in one piece."""
    made, state = server()
    one = push()
    made.admit(one, state)
    state.version = 1
    give(made, state, one, slice(0, SIZE))
    made.finish(state, one)
    return state.weights


def test_the_weights_move_when_the_last_chunk_has_come_and_as_if_there_were_one() -> None:
    made, state = server()
    one, other = push(), push(worker=1)
    for each in (one, other):
        made.admit(each, state)
    state.version = 1
    give(made, state, one, slice(7, 12))
    give(made, state, other, slice(7, 12))
    give(made, state, one, slice(0, 7))
    assert (state.weights == 1).all()
    made.finish(state, one)
    np.testing.assert_array_equal(state.weights, stepped())
    assert [*state.inbox] == [1]


def test_a_push_whose_first_chunks_went_with_a_server_moves_nothing() -> None:
    made, state = server()
    one = push()
    one.applied = 5
    give(made, state, one, slice(0, 7))
    made.finish(state, one)
    assert (state.weights == 1).all()


def test_pulls_wait_for_whole_pushes_and_a_bound_is_none_that_was_not_asked_for() -> None:
    made, state = server()
    state.clocks = {0: 100, 1: 0}
    assert made.pulls_wait and made.may_pull(state, 0)
    assert not halves(job_spec()).pulls_wait


@pytest.mark.parametrize(
    ("shapes", "wanted"),
    [
        ([[4, 1], [4, 1], [4, 1]], (0, 4, 8, 12)),
        ([[5, 1], [1], [6, 1]], (0, 5, 6, 12)),
        ([[10, 1], [1], [1]], (0, 0, 10, 12)),
        ([[12, 1]], (0, 0, 12, 12)),
        ([], (0, 0, 12, 12)),
    ],
)
def test_each_shard_ends_at_the_border_of_a_tensor_that_is_nearest_to_an_equal_cut(
    shapes: list[list[int]], wanted: tuple[int, ...]
) -> None:
    tensors = [(str(number), shape) for number, shape in enumerate(shapes)]
    assert shard_cuts(job_spec(**MUON), tensors, 3, 12) == wanted


@pytest.mark.parametrize(
    "spec", [{}, {"optimizer": {"name": "adamw"}}, MUON | {"algorithm": {"name": "diloco"}}]
)
def test_other_rules_and_rules_in_workers_leave_shards_equal(spec: dict[str, Any]) -> None:
    assert shard_cuts(job_spec(**spec), MATRICES, 3) == ()


def test_several_models_with_a_rule_that_moves_the_whole_one_are_refused_in_a_sentence() -> None:
    with pytest.raises(UserError) as told:
        refuse_models(job_spec(**MUON), ["generator", "critic"])
    assert str(told.value).startswith(
        "spec.optimizer.name: muon steps on the servers by the whole model, and the"
    )
    refuse_models(job_spec(**MUON, algorithm={"name": "asgd", "mode": "delta"}), ["generator", "critic"])
