"""Two processes that have the same data and model agree, whatever their processors; who differs is told in what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgd.errors import ProtocolError
from asgd.wire.agreement import (
    DIGEST_MOST,
    DIGEST_PARTS_MOST,
    Part,
    describe,
    difference,
    layout_difference,
    pack,
    unlike,
    unpack,
)
from asgd.wire.limits import FRAME_MOST

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8) | st.binary(max_size=8),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=4), inner, max_size=4),
    max_leaves=12,
)
shapes = st.lists(st.integers(1, 12), min_size=1, max_size=3).map(tuple)
IN_VALUES, IN_FORM, IN_FLOATS = (
    "in integers or strings", "in structure, type or shape", "in floating-point values",
)  # fmt: skip


def noise(seed: int, shape: tuple[int, ...]) -> Any:
    return np.random.default_rng(seed).normal(size=shape)


@given(plain)
def test_the_same_is_never_said_to_differ(value: Any) -> None:
    assert unlike(describe("sample 0", value), describe("sample 0", value)) == ""


@given(plain, plain)
def test_integers_and_strings_and_their_structure_must_be_equal(one: Any, other: Any) -> None:
    same = one == other and repr(one) == repr(other)
    keys = {repr(one), repr(other)}
    if same or all("{" in key for key in keys):  # mappings are equal in any order
        return
    assert unlike(describe("sample 0", one), describe("sample 0", other))


@given(st.integers(0, 1000), shapes, st.floats(1e-6, 1e6))
def test_floats_that_only_round_otherwise_agree(seed: int, shape: tuple[int, ...], scale: float) -> None:
    value = noise(seed, shape) * scale
    rounded = (value * (1 + 1e-5 * noise(seed + 1, shape).clip(-3, 3))).astype(np.float64)
    assert unlike(describe("sample 0", value), describe("sample 0", rounded)) == ""


@given(st.integers(0, 1000), shapes, st.floats(1e-6, 1e6))
def test_other_floats_differ(seed: int, shape: tuple[int, ...], scale: float) -> None:
    one, other = noise(seed, shape) * scale, noise(seed + 5000, shape) * scale
    assert unlike(describe("sample 0", one), describe("sample 0", other)) == IN_FLOATS


@given(st.integers(0, 1000), st.integers(2, 4000))
def test_elements_in_another_order_differ(seed: int, count: int) -> None:
    value = noise(seed, (count,))
    assert unlike(describe("b", value), describe("b", np.roll(value, 1))) == IN_FLOATS


@pytest.mark.parametrize("place", range(1, 64))
def test_two_elements_that_change_places_are_seen(place: int) -> None:
    value, moved = noise(3, (64,)), noise(3, (64,))
    moved[0], moved[place] = value[place] + 1.0, value[0] - 1.0
    value[0], value[place] = value[0] - 1.0, value[place] + 1.0
    assert unlike(describe("b", value), describe("b", moved)) == IN_FLOATS


@dataclass
class Pair:
    image: Any
    label: int


@pytest.mark.parametrize(
    ("one", "other", "how"),
    [
        ((np.zeros(3), 1), (np.zeros(3), 2), IN_VALUES),
        ((np.zeros(3), 1), (np.zeros(4), 1), IN_FORM),
        (np.zeros(3, np.float32), np.zeros(3), IN_FORM),
        (np.zeros(3, np.int32), np.zeros(3, np.int64), IN_FORM),
        (np.arange(9), np.arange(9)[::-1], IN_VALUES),
        ([1, 2], (1, 2), IN_FORM),
        ({"a": 1}, {"b": 1}, IN_VALUES),
        ({"a", "b"}, {"a", "c"}, IN_VALUES),
        (Pair(np.ones(2), 1), Pair(np.ones(2), 2), IN_VALUES),
        ([0.5, 1.0], [0.5, 2.0], IN_FLOATS),
        (np.array([1.0, np.nan]), np.array([1.0, 0.0]), IN_VALUES),
        (np.array(["a", "b"]), np.array(["a", "c"]), IN_VALUES),
        (1 + 2j, 1 + 3j, IN_FLOATS),
        (None, 0, IN_FORM),
    ],
)
def test_in_what_two_samples_differ_is_said(one: Any, other: Any, how: str) -> None:
    assert unlike(describe("sample 0", one), describe("sample 0", other)) == how


@pytest.mark.parametrize(
    ("one", "other"),
    [({"a": 1, "b": 2}, {"b": 2, "a": 1}), ({"x", "y"}, {"y", "x"}), (object(), object())],
)
def test_order_of_mappings_and_sets_and_addresses_of_objects_do_not_count(one: Any, other: Any) -> None:
    assert unlike(describe("sample 0", one), describe("sample 0", other)) == ""


def test_the_first_name_that_differs_is_told() -> None:
    mine = [describe("sample 0", 1), describe("sample 17", 2), describe("buffer mean", np.ones(3))]
    other = [describe("sample 0", 1), describe("sample 17", 3), describe("buffer mean", np.zeros(3))]
    assert difference(mine, other) == ("sample 17", IN_VALUES)
    assert difference(mine, [mine[0], mine[2]]) is None  # one had less time to read
    assert difference(mine, mine[:2]) == (
        "buffer mean", "which is not frozen, or not there, in this model",
    )  # fmt: skip
    assert difference(mine[:2], mine) == (
        "buffer mean", "which is not frozen, or not there, in the other model",
    )  # fmt: skip


def test_a_model_of_thousands_of_frozen_parameters_fits_into_a_small_message_and_still_differs() -> None:
    names = [f"parameter {'encoder.' * 30}{index}.weight" for index in range(3000)]
    samples = [describe(f"sample {index}", index) for index in range(8)]
    one = [describe(name, noise(i, (4, 4))) for i, name in enumerate(names)]
    other = [*one[:1500], describe(names[1500], noise(9999, (4, 4))), *one[1501:]]
    small, changed = pack([*samples, *one]), pack([*samples, *other])
    assert len(small) <= DIGEST_MOST < FRAME_MOST and len(unpack(small)) <= DIGEST_PARTS_MOST
    found = difference(unpack(small), unpack(changed))
    assert found is not None and " to " in found[0] and found[1] == IN_FLOATS
    assert difference(unpack(small), unpack(small)) is None


@given(st.lists(st.tuples(st.text(max_size=300), plain), max_size=6, unique_by=lambda each: each[0]))
@settings(max_examples=50)
def test_what_is_packed_is_read_again(parts: list[tuple[str, Any]]) -> None:
    found = [describe(name, value) for name, value in parts]
    assert difference(found, unpack(pack(found))) is None


@pytest.mark.parametrize("data", [b"\xff", b"\x91\x01", pack([Part("sample 0", "f", "e", [1.0] * 48)])[:-3]])
def test_what_is_no_digest_is_refused(data: bytes) -> None:
    with pytest.raises(ProtocolError, match="no description"):
        unpack(data)


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (
            b'[["a",[2]],["head.weight",[12,64]]]',
            "head.weight has shape [12, 64], and [10, 64] in this job's",
        ),
        (b'[["a",[2]]]', "parameter head.weight, of shape [10, 64] in this job's model, is missing"),
        (b'[["a",[2]],["head.weight",[10,64]],["b",[1]]]', "parameter b of shape [1] is not in this job's"),
        (b'[["head.weight",[10,64]],["a",[2]]]', "head.weight stands where this job's model has a"),
        (b'[["a",[2]],["head.weight",[10,64]]]', ""),
    ],
)
def test_a_model_of_another_layout_is_told_by_parameter(theirs: bytes, said: str) -> None:
    found = layout_difference(b'[["a",[2]],["head.weight",[10,64]]]', theirs)
    assert said in found and bool(said) == bool(found)
