"""`optimizer.groups`: which group has a parameter, what holds for it, and what is said of a group that has none."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from asgd.errors import UserError
from asgd.spec.groups import assigned, counted, in_short, largest_decay, multiple, settings
from asgd.spec.types import Optimizer

NAMES = ["body.0.weight", "body.0.bias", "norm.weight", "head.weight", "head.bias"]


def spec_of(*groups: dict[str, Any], **optimizer: Any) -> Optimizer:
    return msgspec.convert({**optimizer, "groups": groups}, Optimizer)


def test_the_first_group_that_matches_a_parameter_has_it() -> None:
    found = spec_of({"match": ["*.bias", "*norm*"]}, {"match": "head.*"})
    assert assigned(found, NAMES) == [-1, 0, 0, 1, 0]


def test_a_group_has_the_optimizers_values_where_it_gives_none_of_its_own() -> None:
    optimizer = spec_of({"match": "*", "weightDecay": 0}, name="adamw", weightDecay=0.1, betas=[0.8, 0.9])
    own = settings(optimizer, 0)
    assert (own.weight_decay, own.betas, own.epsilon, own.groups) == (0, (0.8, 0.9), 1e-8, ())
    assert settings(optimizer, -1).weight_decay == 0.1


@pytest.mark.parametrize(
    ("rate", "times"), [("10x", 10), ("0.5x", 0.5), ("0x", 0), (0.5, 2), (1, 4), (None, 1)]
)
def test_a_rate_is_a_number_or_a_multiple_of_the_optimizers(rate: Any, times: float) -> None:
    optimizer = spec_of({"match": "*", "learningRate": rate}, learningRate=0.25)
    assert multiple(optimizer, 0) == times
    assert settings(optimizer, 0).learning_rate == times / 4


def test_a_pattern_that_matches_nothing_is_told_with_the_names_near_it() -> None:
    with pytest.raises(UserError) as refusal:
        assigned(spec_of({"match": "*.bias"}, {"match": ["heed.*", "neck.*"]}), NAMES)
    assert str(refusal.value) == (
        "spec.optimizer.groups[1].match: heed.*, neck.* matches no parameter that is trained; the nearest names are"
        " head.weight, head.bias, norm.weight"
    )


def test_a_group_that_earlier_ones_leave_nothing_is_told_who_has_it() -> None:
    with pytest.raises(UserError) as refusal:
        assigned(spec_of({"match": "head.*"}, {"match": "*.bias"}, {"match": "head.bias"}), NAMES)
    assert str(refusal.value) == (
        "spec.optimizer.groups[2].match: head.bias is left without a parameter, for groups[0] has head.bias already;"
        " the first group that matches a parameter has it"
    )


def test_each_group_is_counted_and_so_is_what_has_none() -> None:
    optimizer = spec_of(
        {"match": ["*.bias", "norm.*"], "weightDecay": 0}, {"match": "head.*", "learningRate": "10x"}
    )
    assert counted(optimizer, list(zip(NAMES, [4000, 10, 10, 1, 1], strict=True))) == [
        "*.bias, norm.* (weightDecay 0): 3 tensors, 21 parameters",
        "head.* (learningRate 10x): 1 tensor, 1 parameters",
        "all others: 1 tensor, 4,000 parameters",
    ]


def test_of_many_patterns_is_told_what_they_have_in_common_else_the_first_ones() -> None:
    layers = [f"model.layers.{number}.{name}.lora_A.weight" for number in range(2) for name in ("q", "v")]
    assert in_short(layers[:3]) == ", ".join(layers[:3])
    assert in_short(layers) == "model.layers…lora_A.weight"
    assert in_short([f"{number}.bias" for number in range(4)]) == "…bias"
    assert in_short([f"head.{number}" for number in range(4)]) == "head…"
    assert in_short(["a", "a.b", "a.c", "a.d"]) == "a, a.b, a.c and 1 more"
    assert in_short(["*.bias", "*norm*", "embed.*", "head.*"]) == "*.bias, *norm*, embed.* and 1 more"
    counts = counted(spec_of({"match": layers, "weightDecay": 0}), [(name, 8) for name in layers])
    assert counts[0] == "model.layers…lora_A.weight (weightDecay 0): 4 tensors, 32 parameters"


def test_the_decay_of_frozen_parameters_is_that_of_their_groups() -> None:
    optimizer = spec_of(
        {"match": "body.*", "weightDecay": 0}, {"match": "head.*", "weightDecay": 2}, weightDecay=1
    )
    assert [largest_decay(optimizer, names) for names in ([], NAMES[:2], NAMES[:3], NAMES)] == [0, 0, 1, 2]
