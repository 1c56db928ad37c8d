"""Codecs: nothing is lost for good, errors stay within bounds, and a frame that is not theirs is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from asgd.errors import ProtocolError
from asgd.kernel import F32
from asgd.spec.types import Codec
from asgd.wire import codec
from asgd.wire.codec import Encoder, decode, pack
from asgd.wire.packing import from_bf16, to_bf16
from tests.effort import examples

NAMES = ("fp32", "bf16", "fp16", "int8", "topk", "onebit")
LOSSY = ("int8", "topk", "onebit")

floats = st.floats(-1e6, 1e6, width=32)
vectors = st.lists(floats, max_size=70).map(lambda values: np.array(values, np.float32))


def frame(encoded: Any) -> memoryview:
    """As it arrives: bytes of no type."""
    return memoryview(encoded.tobytes() if hasattr(encoded, "tobytes") else bytes(encoded))


def there_and_back(how: Codec, encoder: Encoder, vector: F32) -> F32:
    arrived = frame(encoder.encode(vector, 0))
    return decode(how.push, arrived, vector.size, how, np.full(vector.size + 3, np.nan, np.float32)).copy()


@pytest.mark.parametrize("name", LOSSY)
@settings(deadline=None)
@given(
    st.lists(st.integers(0, 2**32), min_size=1, max_size=12),
    st.integers(0, 90),
    st.sampled_from([16, 17, 64]),
)
def test_what_was_sent_and_what_is_kept_add_up_to_all_that_was_pushed(
    name: str, seeds: list[int], size: int, block: int
) -> None:
    how = Codec(push=name, block_size=block, top_ratio=0.1)
    encoder = Encoder(how, size)
    sent, pushed, largest = np.zeros(size), np.zeros(size), 1.0
    for seed in seeds:
        g = np.random.default_rng(seed).standard_normal(size).astype(np.float32)
        sent += there_and_back(how, encoder, g)
        pushed += g
        assert encoder.residual is not None
        largest = max(largest, float(np.abs(encoder.residual).max(initial=0)))
    assert encoder.residual is not None
    np.testing.assert_allclose(sent + encoder.residual, pushed, atol=3e-6 * largest * len(seeds))


@pytest.mark.parametrize("name", LOSSY)
def test_a_lossy_codec_sends_a_constant_gradient_in_the_long_run(name: str) -> None:
    how = Codec(push=name, block_size=64, top_ratio=0.05)
    g = np.random.default_rng(0).standard_normal(500).astype(np.float32)
    encoder = Encoder(how, g.size)
    mean = np.mean([there_and_back(how, encoder, g) for _ in range(400)], axis=0)
    assert np.abs(mean - g).max() < 0.2 < np.abs(g).max() / 15


@settings(deadline=None)
@given(vectors)
def test_fp32_is_exact_and_copies_nothing(vector: F32) -> None:
    how = Codec()
    encoded = Encoder(how, vector.size).encode(vector, 0)
    assert encoded is vector
    arrived = frame(encoded)
    decoded = decode("fp32", arrived, vector.size, how, np.empty(0, np.float32))
    assert decoded.tobytes() == vector.tobytes()
    if vector.size:
        assert np.shares_memory(decoded, np.frombuffer(arrived, np.uint8))


@settings(deadline=None)
@given(vectors)
def test_bf16_and_fp16_round_to_nearest_even_as_pytorch_does(vector: F32) -> None:
    for name, kind in (("bf16", torch.bfloat16), ("fp16", torch.float16)):
        with np.errstate(over="ignore"):
            arrived = frame(pack(name, vector))
        found = decode(name, arrived, vector.size, Codec(), np.empty(vector.size, np.float32))
        expected = torch.from_numpy(vector).to(kind).to(torch.float32).numpy()
        assert np.array_equal(found.view(np.uint32), expected.view(np.uint32)), name
        assert len(arrived) == 2 * vector.size


def test_bf16_keeps_inf_and_nan_and_rounds_ties_to_even() -> None:
    vector = np.array([np.inf, -np.inf, np.nan, 3.4028235e38, 1e-45], np.float32)
    found = from_bf16(to_bf16(vector))
    assert found[:2].tolist() == [np.inf, -np.inf] and np.isnan(found[2])
    assert found[3] == np.inf and found[4] == 0
    ties = np.array([0x3F808000, 0x3F818000], np.uint32).view(np.float32)
    assert to_bf16(ties).tolist() == [0x3F80, 0x3F82]


@settings(deadline=None)
@given(vectors, st.integers(16, 40))
@example(np.full(16, 190 * 1.4e-45, np.float32), 16)
def test_int8_is_wrong_by_at_most_half_a_level_of_its_block(vector: F32, block: int) -> None:
    how = Codec(push="int8", block_size=block)
    encoder = Encoder(how, vector.size)
    found = there_and_back(how, encoder, vector)
    for start in range(0, vector.size, block):
        part = slice(start, start + block)
        largest = float(np.abs(vector[part]).max())
        slack = 1e-6 * largest + 64 * 1.4e-45
        assert np.abs(found[part].astype(np.float64) - vector[part]).max() <= largest / 254 + slack


@settings(deadline=None)
@given(vectors.filter(lambda v: v.size > 0), st.floats(0.001, 1))
def test_topk_sends_the_largest_entries_as_bf16_and_only_those(vector: F32, ratio: float) -> None:
    how = Codec(push="topk", top_ratio=ratio)
    found = there_and_back(how, Encoder(how, vector.size), vector)
    k = max(1, min(vector.size, round(vector.size * ratio)))
    sent = np.flatnonzero(found)
    rounded = from_bf16(to_bf16(vector))
    assert len(sent) <= k
    assert np.array_equal(found[sent], rounded[sent])
    assert np.sort(np.abs(found))[::-1][:k].tolist() == np.sort(np.abs(rounded))[::-1][:k].tolist()


def test_onebit_sends_two_means_a_block() -> None:
    how = Codec(push="onebit", block_size=16)
    vector = np.array([1, 3, -2, -4] + [0] * 12 + [5, 7, -3], np.float32)
    found = there_and_back(how, Encoder(how, 19), vector)
    assert found[:4].tolist() == [2, 2, pytest.approx(-6 / 14), pytest.approx(-6 / 14)]
    assert found[16:].tolist() == [6, 6, -3]


@pytest.mark.parametrize("name", NAMES)
def test_a_frame_has_the_size_that_the_notes_give(name: str) -> None:
    n, block = 4096, 256
    how = Codec(push=name, block_size=block, top_ratio=0.01)
    sizes = {"fp32": 4 * n, "bf16": 2 * n, "fp16": 2 * n, "int8": n + 4 * (n // block)}
    sizes |= {"topk": 4 + 4 * 41, "onebit": n // 8 + 8 * (n // block)}
    assert len(frame(Encoder(how, n).encode(np.ones(n, np.float32), 0))) == sizes[name]


@pytest.mark.parametrize("name", NAMES)
def test_a_chunk_without_elements_travels_too(name: str) -> None:
    how = Codec(push=name)
    assert there_and_back(how, Encoder(how, 0), np.empty(0, np.float32)).size == 0


@pytest.mark.parametrize(
    ("ratio", "size"), [(0.01, 4 * 4 + 4 * 2621), (0.0625, 4 * 4 + 4 * 16384), (0.1, (1 << 15) + 2 * 26214)]
)
def test_a_full_chunk_of_topk_takes_4_bytes_an_entry_or_a_bit_a_place(ratio: float, size: int) -> None:
    how = Codec(push="topk", top_ratio=ratio)
    vector = np.random.default_rng(0).standard_normal(1 << 18).astype(np.float32)
    assert len(frame(Encoder(how, vector.size).encode(vector, 0))) == size


@pytest.mark.parametrize("name", LOSSY)
@pytest.mark.parametrize("bad", [np.inf, -np.inf, np.nan])
def test_what_is_not_finite_is_sent_as_such_and_spoils_no_later_push(name: str, bad: float) -> None:
    how = Codec(push=name, block_size=16, top_ratio=0.1)
    encoder, vector = Encoder(how, 60), np.ones(60, np.float32)
    vector[7] = bad
    assert codec.largest(name, frame(encoder.encode(vector, 0)), 60, how) == np.inf
    assert codec.largest(name, frame(encoder.encode(np.ones(60, np.float32), 0)), 60, how) < np.inf


@pytest.mark.parametrize("name", ["fp32", "bf16", "fp16", *LOSSY])
def test_the_largest_element_of_a_frame_is_known_without_decoding_it(name: str) -> None:
    how = Codec(push=name, block_size=16, top_ratio=0.1)
    vector = np.random.default_rng(1).standard_normal(60).astype(np.float32)
    vector[33] = -5e3
    sent = frame(Encoder(how, 60).encode(vector, 0))
    decoded = codec.decode(name, sent, 60, how, np.empty(60, np.float32))
    assert codec.largest(name, sent, 60, how) == pytest.approx(float(np.abs(decoded).max()))


def test_each_chunk_of_a_shard_keeps_its_own_residual(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(codec, "CHUNK", 4)
    how = Codec(push="topk", top_ratio=0.25)
    encoder = Encoder(how, 6)
    encoder.encode(np.array([4, 3, 2, 1], np.float32), 0)
    encoder.encode(np.array([6, 5], np.float32), 1)
    assert encoder.residual is not None
    assert encoder.residual.tolist() == [0, 5, 0, 3, 2, 1]


@pytest.mark.parametrize("name", [*NAMES, "zip", ""])
@settings(deadline=None, max_examples=examples(200))
@given(st.binary(max_size=120), st.integers(0, 60), st.integers(16, 40))
@example(b"\x00\x3c", 8, 16)
@example(b"\xff\xff\xff\xff\x00\x00\x00\x00", 8, 16)
def test_any_frame_is_decoded_to_the_chunks_size_or_refused(
    name: str, arrived: bytes, size: int, block: int
) -> None:
    how = Codec(push="fp32", block_size=block)
    with np.errstate(all="ignore"):
        try:
            found = decode(name, memoryview(arrived), size, how, np.empty(64, np.float32))
        except ProtocolError as error:
            assert name in str(error)
            return
    assert found.shape == (size,)
    assert found.dtype == np.float32
    if name in ("fp32", "fp16", "bf16"):
        assert len(arrived) == size * (4 if name == "fp32" else 2)


@pytest.mark.parametrize("name", NAMES)
def test_a_chunk_without_its_payload_is_refused(name: str) -> None:
    with pytest.raises(ProtocolError, match="payload"):
        decode(name, None, 8, Codec(), np.empty(8, np.float32))
