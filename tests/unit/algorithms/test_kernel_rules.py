"""Optimizers' inner loops: the compiled pass and the in-place operators give the same bits for any numbers."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from asgd import kernel
from asgd.kernel import F32, rules
from tests.effort import examples
from tests.unit.algorithms.test_kernel import bits, same

FACTORS: dict[str, tuple[int, tuple[float, ...]]] = {
    "adam": (4, (0.999, 0.9, 1 - 0.9, 0.999, 1 - 0.999, 1 - 0.999**3, 1e-8, -0.01 / (1 - 0.9**3))),
    "lion": (3, (0.98, 0.9, 1 - 0.9, 0.99, 1 - 0.99, -0.003)),
    "rmsprop": (3, (0.99, 1 - 0.99, 1e-8, 0.0, -0.01)),
    "rmsprop centered": (4, (0.99, 1 - 0.99, 1e-8, 0.0, -0.01)),
    "rmsprop heavy": (4, (0.99, 1 - 0.99, 1e-8, 0.9, -0.01)),
    "rmsprop centered heavy": (5, (0.99, 1 - 0.99, 1e-8, 0.9, -0.01)),
    "adadelta": (4, (0.9, 1 - 0.9, 1e-6, -1.0)),
}
"""{rule: (how many arrays it takes, factors)}"""


def arrays(rule: str, seed: int, size: int) -> tuple[F32, ...]:
    count = FACTORS[rule][0]
    return tuple(bits(seed + place, size) for place in range(count))


def test_every_rule_is_tested() -> None:
    assert list(FACTORS) == list(rules.PLAIN)


@pytest.mark.parametrize("rule", FACTORS)
@given(seed=st.integers(0, 2**32), size=st.one_of(st.integers(0, 300), st.just(65537)), ours=st.booleans())
@settings(max_examples=examples(40), deadline=None)
def test_the_compiled_pass_gives_the_bits_of_the_operators_for_every_size_and_number(
    rule: str, seed: int, size: int, ours: bool
) -> None:
    """`ours`: g lies in the scratch, as where a gradient is made for this step alone."""
    _, factors = FACTORS[rule]
    expected, found = arrays(rule, seed, size), arrays(rule, seed, size)
    scratch = expected[1] if ours else np.empty(size, np.float32)
    with np.errstate(all="ignore"):
        rules.PLAIN[rule](scratch, *expected, *factors)
        rules.move(rule, found, factors, np.empty(0, np.float32))
    for place, (one, other) in enumerate(zip(expected, found, strict=True)):
        if place != 1 or not ours:
            assert same(one, other), place
    assert same(found[1], arrays(rule, seed, size)[1])


@pytest.mark.parametrize("rule", FACTORS)
def test_without_a_compiler_the_same_step_is_made(rule: str, monkeypatch: pytest.MonkeyPatch) -> None:
    compiled, plain = arrays(rule, 5, 1000), arrays(rule, 5, 1000)
    scratch = np.empty(1000, np.float32)
    with np.errstate(all="ignore"):
        rules.move(rule, compiled, FACTORS[rule][1], scratch)
        monkeypatch.setattr(rules, "COMPILED_MODULE", None)
        rules.move(rule, plain, FACTORS[rule][1], scratch)
    assert all(same(one, other) for one, other in zip(compiled, plain, strict=True))


def test_a_pass_refuses_arrays_and_factors_that_are_not_its_own_and_changes_nothing() -> None:
    move = kernel.COMPILED_MODULE.move
    w, g, m = (np.ones(4, np.float32) for _ in "wgm")
    factors = FACTORS["lion"][1]
    with pytest.raises(ValueError, match="equal length"):
        move(1, (w, g, np.ones(3, np.float32)), factors)
    with pytest.raises(ValueError, match="no such rule"):
        move(1, (w, g), factors)
    with pytest.raises(ValueError, match="no such rule"):
        move(len(FACTORS), (w, g, m), factors)
    with pytest.raises(ValueError, match="number of factors"):
        move(1, (w, g, m), factors[1:])
    with pytest.raises(TypeError):
        move(1, (w, g, m), ("a", *factors[1:]))
    m.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        move(1, (w, g, m), factors)
    assert (w == 1).all() and (g == 1).all() and (m == 1).all()
