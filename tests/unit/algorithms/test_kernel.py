"""The update path's inner loops: compiled and numpy's give the same bits, and those of the written-down arithmetic."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgd import kernel
from asgd.kernel import F32
from tests.effort import examples

Axpy = Callable[[F32, F32, float], None]

SPECIAL = np.array(
    [
        0,
        -0.0,
        1e-45,
        -1e-45,
        1.1754942e-38,
        1.17549435e-38,
        1,
        3.4028235e38,
        -3.4028235e38,
        np.inf,
        -np.inf,
        np.nan,
    ],
    np.float32,
)


def bits(seed: int, size: int) -> F32:
    """Any float32 whatever: half of them random bits, the rest of a usual size, sprinkled with the special ones."""
    rng = np.random.default_rng(seed)
    raw = rng.integers(0, 1 << 32, size, np.uint32).view(np.float32)
    values = np.where(rng.random(size) < 0.5, raw, rng.standard_normal(size).astype(np.float32))
    picked = rng.random(size) < 0.1
    values[picked] = rng.choice(SPECIAL, int(picked.sum()))
    return values.astype(np.float32)


def same(a: F32, b: F32) -> bool:
    """Equal bits; one nan is as good as another."""
    return bool(((a.view(np.uint32) == b.view(np.uint32)) | (np.isnan(a) & np.isnan(b))).all())


def written_down(w: F32, g: F32, a: float) -> F32:
    """t = g * a, w + t, each rounded once: exact in double precision, then rounded."""
    with np.errstate(all="ignore"):
        t = (g.astype(np.float64) * np.float64(np.float32(a))).astype(np.float32)
        return (w.astype(np.float64) + t.astype(np.float64)).astype(np.float32)


def test_the_compiled_kernel_is_built_here() -> None:
    assert kernel.COMPILED


@settings(deadline=None)
@given(
    seed=st.integers(0, 2**32),
    size=st.one_of(st.integers(0, 300), st.sampled_from([65535, 65536, 65537, 131073])),
    a=st.one_of(st.floats(width=32), st.floats(-10, 10)),
)
@example(seed=0, size=0, a=1.0)
@example(seed=1, size=7, a=1e-45)
def test_both_kernels_give_the_bits_of_two_roundings_for_every_size_and_number(
    seed: int, size: int, a: float
) -> None:
    g = bits(seed, size)
    expected = written_down(bits(seed + 1, size), g, a)
    for axpy in (kernel.axpy, kernel.axpy_numpy):
        w, before = bits(seed + 1, size), g.copy()
        with np.errstate(all="ignore"):
            axpy(w, g, a)
        assert same(w, expected), axpy
        assert same(g, before)


def test_a_fused_multiply_add_would_be_noticed() -> None:
    g, w = bits(5, 5000), np.abs(bits(6, 5000))
    sane = np.isfinite(g) & np.isfinite(w) & (np.abs(g) < 1e3) & (np.abs(g) > 1e-3) & (w < 1e3)
    g, w = g[sane], w[sane]
    fused = (w.astype(np.float64) + g.astype(np.float64) * np.float64(np.float32(-0.1))).astype(np.float32)
    assert not same(fused, written_down(w, g, -0.1))


@settings(deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 200), st.integers(0, 200))
def test_the_result_does_not_depend_on_where_a_vector_is_cut(seed: int, size: int, cut: int) -> None:
    g = bits(seed, size)
    whole, parts = bits(seed + 1, size), bits(seed + 1, size)
    kernel.axpy(whole, g, -0.3)
    for span in (slice(0, cut), slice(cut, size)):
        kernel.axpy(parts[span], g[span], -0.3)
    assert same(whole, parts)


@settings(deadline=None)
@given(st.lists(st.floats(width=32), max_size=80))
@example([float("inf")])
@example([1e-45, 3.4028235e38, -0.0])
def test_finite_finds_every_inf_and_nan_and_nothing_else(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    expected = bool(np.isfinite(vector).all())
    assert kernel.finite(vector) is expected
    assert kernel.finite_numpy(vector) is expected


@pytest.mark.parametrize("place", [0, 1, 65535, 65536, 99999])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_bad_element_anywhere_in_a_long_vector_is_found(place: int, bad: float) -> None:
    vector = np.zeros(100_000, np.float32)
    assert kernel.finite(vector) and kernel.finite_numpy(vector)
    vector[place] = bad
    assert not kernel.finite(vector) and not kernel.finite_numpy(vector)


def test_vectors_of_unequal_length_or_read_only_ones_are_refused_and_left_alone() -> None:
    w, g = np.zeros(4, np.float32), np.ones(3, np.float32)
    with pytest.raises(ValueError, match="equal length"):
        kernel.axpy(w, g, 1.0)
    w.flags.writeable = False
    with pytest.raises((ValueError, BufferError)):
        kernel.axpy(w, np.ones(4, np.float32), 1.0)
    with pytest.raises((ValueError, BufferError)):
        kernel.axpy(np.zeros(8, np.float32)[::2], np.ones(4, np.float32), 1.0)
    assert not w.any()


@given(
    st.integers(0, 2**32 - 1), st.integers(0, 5 * kernel.LOOK), st.none() | st.integers(0, 5 * kernel.LOOK)
)
@example(0, 3 * kernel.LOOK, 0)
@example(0, 3 * kernel.LOOK, kernel.LOOK)
@example(0, 3 * kernel.LOOK, 3 * kernel.LOOK - 1)
@settings(max_examples=examples(60))
def test_looking_and_adding_in_one_pass_stops_before_the_block_that_is_not_finite(
    seed: int, size: int, spoiled: int | None
) -> None:
    rng = np.random.default_rng(seed)
    w, g = (rng.standard_normal(size).astype(np.float32) for _ in "wg")
    whole = size
    if spoiled is not None and spoiled < size:
        g[spoiled] = rng.choice(np.array([np.inf, -np.inf, np.nan], np.float32))
        whole = spoiled // kernel.LOOK * kernel.LOOK
    wanted = w.copy()
    wanted[:whole] = written_down(w[:whole], g[:whole], -0.3)
    seen = g[: whole + kernel.LOOK]
    top = float(np.abs(seen).max(initial=0.0)) if np.isfinite(seen).all() else np.inf
    for add in (kernel.add_below, kernel.add_below_numpy):
        found = w.copy()
        assert add(found, g, -0.3, np.inf) == top
        assert same(found, wanted)
        if size and whole == size:
            assert add(w.copy(), g, -0.3, np.nextafter(np.float32(top), np.float32(np.inf))) == top
            start = int(np.abs(g).argmax()) // kernel.LOOK * kernel.LOOK
            found = w.copy()
            assert add(found, g, -0.3, top) == top, "a limit that is reached"
            assert same(found[start:], w[start:]) and same(found[:start], wanted[:start])


@given(st.lists(st.floats(width=32), max_size=80))
@example([float("nan"), 1.0])
@example([1e-45, 3.4028235e38, -0.0])
def test_the_largest_magnitude_is_found_and_is_inf_for_inf_and_nan(values: list[float]) -> None:
    vector = np.array(values, np.float32)
    expected = float(np.abs(vector).max(initial=0.0)) if np.isfinite(vector).all() else np.inf
    assert kernel.largest(vector) == kernel.largest_numpy(vector) == expected
