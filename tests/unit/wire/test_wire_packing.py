"""The codecs' inner loops: compiled and numpy's give the same bits for every size and number, and refuse alike."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgd import kernel
from asgd.kernel import F32
from asgd.wire import packing
from asgd.wire.packing import KINDS
from tests.effort import examples
from tests.unit.algorithms.test_kernel import bits, same

COMPILED: Any = kernel.COMPILED_MODULE

sizes = st.one_of(st.integers(0, 300), st.sampled_from([4096, 8192, 8193, 65535, 65536, 65537, 140_001]))
blocks = st.one_of(st.integers(16, 300), st.just(1 << 20))
kinds = st.integers(0, len(KINDS) - 1)


def usual(seed: int, size: int) -> F32:
    """Finite numbers of every size, many of them equal to others, some denormal."""
    rng = np.random.default_rng(seed)
    values = rng.standard_normal(size) * np.exp(rng.standard_normal(size) * rng.choice([0, 3, 30]))
    tied = rng.random(size) < rng.choice([0, 0.5])
    values[tied] = rng.choice([1.0, -1.0, 0.0, -0.0, 1e-42], int(tied.sum()))
    with np.errstate(over="ignore"):
        return np.nan_to_num(values.astype(np.float32))


def argument(kind: int, size: int, block: int) -> int:
    if KINDS[kind] == "topk":
        return min(size, max(1, block % (size + 1)))
    return block if kind > 1 else 0


def packed(pack: Any, kind: int, kept: F32, vector: F32 | None, arg: int) -> tuple[bytes, F32]:
    """The frame and what is kept."""
    frame = np.zeros(packing.length(kind, kept.size, arg), np.uint8)
    left = kept.copy()
    if kind < 2:
        pack(kind, None, kept, frame, 0)
    else:
        pack(kind, left, vector, frame, arg)
    return frame.tobytes(), left


@settings(deadline=None, max_examples=examples(400))
@given(kinds, st.integers(0, 2**32), sizes, blocks, st.booleans(), st.booleans())
@example(2, 0, 0, 16, False, False)
@example(3, 1, 140_001, 1400, False, True)
@example(3, 1, 140_001, 14_000, False, True)
@example(4, 3, 300, 17, True, True)
def test_both_kernels_give_the_same_frames_and_residuals(
    kind: int, seed: int, size: int, block: int, wild: bool, pushed: bool
) -> None:
    make = bits if wild else usual
    kept, vector = make(seed, size), make(seed + 1, size) if pushed else None
    arg = argument(kind, size, block)
    ours, left = packed(COMPILED.pack, kind, kept, vector, arg)
    theirs, right = packed(packing.pack_numpy, kind, kept, vector, arg)
    assert ours == theirs
    assert same(left, right)
    largest = COMPILED.frame_largest(kind, ours, size, arg)
    assert largest == packing.largest_numpy(kind, ours, size, arg)
    out, other = np.empty(size, np.float32), np.empty(size, np.float32)
    COMPILED.unpack(kind, ours, out, arg)
    packing.unpack_numpy(kind, ours, other, arg)
    assert same(out, other)
    assert (largest < np.inf) is bool(np.isfinite(out).all())
    assert largest >= np.abs(out).max(initial=0.0) or largest == np.inf or np.isnan(out).any()
    with np.errstate(over="ignore", invalid="ignore"):
        total = kept if vector is None else kept + vector
    assert kind < 2 or np.isfinite(left).all() or not np.isfinite(total).all()


@settings(deadline=None, max_examples=examples(200))
@given(kinds, st.integers(0, 2**32), sizes, blocks, st.floats(-10, 10, width=32))
@example(3, 5, 70_000, 700, -0.1)
def test_decoding_and_applying_in_one_pass_gives_the_bits_of_two_steps(
    kind: int, seed: int, size: int, block: int, a: float
) -> None:
    """NB: for topk with a negative factor, as in every descent: w - 0 is w, while -0 + 0 would be +0."""
    a = -abs(a) if KINDS[kind] == "topk" else a
    arg = argument(kind, size, block)
    frame, _ = packed(packing.pack, kind, usual(seed, size), usual(seed + 1, size), arg)
    vector, expected = np.empty(size, np.float32), usual(seed + 2, size)
    packing.unpack(kind, frame, vector, arg)
    with np.errstate(all="ignore"):
        kernel.axpy(expected, vector, a)
    for add in (COMPILED.add, packing.add_numpy):
        w = usual(seed + 2, size)
        add(kind, frame, w, a, arg)
        assert same(w, expected), add


@settings(deadline=None, max_examples=examples(300))
@given(kinds, st.binary(max_size=150), st.integers(0, 70), st.integers(0, 70))
@example(3, b"\x02\0\0\0" + b"\x01\0\x01\0" + b"\0\0\0\0", 40, 2)
@example(3, b"\x02\0\0\0" + b"\x01\0\x28\0" + b"\0\0\0\0", 40, 2)
@example(3, b"\xff\xff\xff\xff" + b"\x01\0\x02\0" + b"\0\0\0\0", 40, 2)
@example(3, b"\x0f\0" + b"\0\0\0\0", 9, 2)
@example(3, b"\x01\x02" + b"\0\0\0\0", 9, 2)
def test_both_kernels_judge_any_frame_alike(kind: int, frame: bytes, size: int, arg: int) -> None:
    if kind < 2:
        arg = 0
    elif KINDS[kind] == "topk":
        arg = min(arg, size)
    else:
        arg = max(1, arg)
    verdicts: list[Any] = []
    for largest in (COMPILED.frame_largest, packing.largest_numpy):
        try:
            verdicts.append(largest(kind, frame, size, arg))
        except ValueError:
            verdicts.append("refused")
    assert verdicts[0] == verdicts[1]


@pytest.mark.parametrize("kind", range(len(KINDS)))
def test_buffers_that_do_not_fit_are_refused_before_anything_is_written(kind: int) -> None:
    arg = 2 if KINDS[kind] == "topk" else 16
    arg = arg if kind > 1 else 0
    kept, frame = np.ones(40, np.float32), np.zeros(packing.length(kind, 40, arg) + 1, np.uint8)
    for call in (
        lambda: COMPILED.pack(kind, kept, kept.copy(), frame, arg),
        lambda: COMPILED.pack(kind, kept, np.ones(39, np.float32), frame[:-1], arg),
        lambda: COMPILED.pack(kind, kept, kept.copy(), frame[:-1], -1),
        lambda: COMPILED.pack(9, kept, kept.copy(), frame[:-1], arg),
        lambda: COMPILED.pack(kind, None, None, frame[:-1], arg),
        lambda: COMPILED.frame_largest(kind, frame, 40, arg),
        lambda: COMPILED.frame_largest(kind, frame[:-1], -1, arg),
        lambda: COMPILED.unpack(kind, frame, kept, arg),
        lambda: COMPILED.add(kind, frame, kept, 1.0, arg),
    ):
        with pytest.raises(ValueError):
            call()
    assert np.all(kept == 1) and not frame.any()


@settings(deadline=None, max_examples=examples(60))
@given(
    st.integers(0, 2**32), st.sampled_from([9000, 70_000, 262_144]), st.sampled_from([0.001, 0.01, 0.1, 0.6])
)
def test_a_bad_guess_of_the_threshold_changes_nothing(seed: int, size: int, ratio: float) -> None:
    """Large entries where the sample does not look, or nowhere else."""
    rng = np.random.default_rng(seed)
    vector = rng.standard_normal(size).astype(np.float32)
    stride = size // 1024
    looked = np.zeros(size, bool)
    looked[[i * stride + (i & 1) for i in range(1024)]] = True
    vector[looked if seed % 2 else ~looked] *= 1e-3
    k = round(size * ratio)
    ours, theirs = (packed(pack, 3, vector, None, k)[0] for pack in (COMPILED.pack, packing.pack_numpy))
    assert ours == theirs
