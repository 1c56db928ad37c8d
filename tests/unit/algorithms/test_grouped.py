"""An optimizer with parameter groups: each element's own hyper-parameters, however the vector is cut."""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from asgd.algorithms.base import Strategy
from asgd.algorithms.gradient import GradientServer, GradientWorker
from asgd.algorithms.grouped import local_optimizer, optimizer_of
from asgd.algorithms.hyper import HyperParameters
from asgd.algorithms.optimizers import make_optimizer
from asgd.algorithms.registry import halves
from asgd.algorithms.schedule import slowed
from asgd.errors import UserError
from asgd.kernel import F32
from asgd.spec.types import Optimizer
from tests.checks.harness import job_spec

TENSORS = [("a.weight", 5), ("a.bias", 2), ("b.weight", 4), ("b.bias", 1)]
SIZE = 12
GROUPS = [{"match": "*.bias", "momentum": 0, "weightDecay": 0}, {"match": "b.*", "learningRate": "2x"}]


def hyper(*groups: dict[str, Any], **optimizer: Any) -> HyperParameters:
    given = {"learningRate": 0.25, "momentum": 0.5, "weightDecay": 0.125, **optimizer, "groups": groups}
    found = HyperParameters(msgspec.convert(given, Optimizer))
    found.lay_out(TENSORS)
    return found


def gradients() -> list[F32]:
    rng = np.random.default_rng(5)
    return [rng.standard_normal(SIZE).astype(np.float32) for _ in range(6)]


def trained(found: HyperParameters, cuts: list[int]) -> F32:
    """(SIZE,) weights after all gradients, each applied in the pieces between `cuts`."""
    optimizer, w = optimizer_of(found), np.ones(SIZE, np.float32)
    slots = {name: np.zeros(SIZE, np.float32) for name in optimizer.slots}
    for count, g in enumerate(gradients(), 1):
        for start, stop in zip([0, *cuts], [*cuts, SIZE], strict=True):
            span = slice(start, stop)
            own, scratch = (
                {name: slot[span] for name, slot in slots.items()},
                np.empty(stop - start, np.float32),
            )
            optimizer.at(start).update(w[span], g[span], 0.25, own, scratch, count)
    return w


def test_neighbours_with_the_same_hyper_parameters_are_one_piece() -> None:
    found = hyper({"match": "a.weight", "weightDecay": 0}, {"match": "a.*", "weightDecay": 0})
    assert [piece.span for piece in found.over(0, SIZE)] == [slice(0, 7), slice(7, 12)]


def test_a_piece_begins_and_ends_where_the_run_of_elements_does() -> None:
    found = hyper(*GROUPS)
    assert [(piece.span, piece.rate) for piece in found.over(6, 3)] == [
        (slice(0, 1), 1.0),
        (slice(1, 3), 2.0),
    ]


@pytest.mark.parametrize("cuts", [[1], [5, 7], [3, 6, 8, 11]])
def test_where_chunks_end_makes_no_difference(cuts: list[int]) -> None:
    assert np.array_equal(trained(hyper(*GROUPS), cuts), trained(hyper(*GROUPS), []))


def test_a_worker_steps_as_a_server_does_also_where_only_some_groups_have_momentum() -> None:
    own, w = local_optimizer(hyper(*GROUPS)), torch.ones(SIZE)
    for g in gradients():
        own.step(w, torch.from_numpy(g), 0.25, torch.empty(SIZE))
    assert np.array_equal(w.numpy(), trained(hyper(*GROUPS), []))


def test_arrays_are_those_that_any_group_needs() -> None:
    assert optimizer_of(hyper(momentum=0)).slots == ()
    assert optimizer_of(hyper({"match": "*.bias", "momentum": 0.5}, momentum=0)).slots == ("momentum",)


def test_pushes_are_not_added_as_they_are_where_groups_differ() -> None:
    plain = {"momentum": 0, "weightDecay": 0}
    assert optimizer_of(hyper(**plain)).adds
    assert not optimizer_of(hyper({"match": "b.*", "learningRate": "2x"}, **plain)).adds


def test_without_groups_the_optimizer_is_the_plain_one() -> None:
    found = hyper()
    assert type(optimizer_of(found)) is type(make_optimizer(found.optimizer))
    assert found.laid_out and HyperParameters(found.optimizer).laid_out


def test_after_a_rollback_each_group_has_its_part_of_its_rate() -> None:
    groups = [{"match": "*.bias", "learningRate": 0.5}, {"match": "b.*", "learningRate": "3x"}]
    spec = slowed(
        job_spec(optimizer={"learningRate": 0.25, "groups": groups}, rollback={"rateFactor": 0.5}), 2
    )
    found = HyperParameters(spec.optimizer)
    found.lay_out(TENSORS)
    assert [own.learning_rate for own in found.kinds] == [0.0625, 0.125, 0.1875]
    assert [piece.rate for piece in found.over(0, SIZE)] == [1, 2, 3, 2]


def test_a_strategy_of_others_that_does_not_go_by_groups_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for groups, allowed in ((True, True), (False, False)):
        theirs = Strategy("own", GradientServer, GradientWorker, groups=groups)
        monkeypatch.setattr("asgd.algorithms.registry.strategy", lambda name, found=theirs: found)
        spec = job_spec(
            algorithm={"name": "theirs/own"}, optimizer={"groups": [{"match": "*", "weightDecay": 0}]}
        )
        if allowed:
            assert halves(spec).server().hyper.grouped
            continue
        with pytest.raises(
            UserError, match=r"^spec\.optimizer\.groups: theirs/own does not say that it goes by them"
        ):
            halves(spec)
