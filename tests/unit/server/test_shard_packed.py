"""A packed push is added as it is, with the bits of decoding it first; strategies that do more than add see vectors."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.algorithms.asgd import AsgdServer
from asgd.algorithms.base import Push, ShardState
from asgd.algorithms.registry import names, strategy
from asgd.kernel import F32
from asgd.server import shard as module
from asgd.server.shard import Shard
from asgd.spec.types import JobSpec
from asgd.wire.codec import Encoder
from asgd.wire.messages import Exchange, Reply
from tests.checks.harness import as_frame, asgd_spec
from tests.unit.server.peers import bring, hello

SIZE = 3000
CODECS = ("fp32", "bf16", "fp16", "int8", "topk", "onebit")


class Unfused(AsgdServer):
    """Decodes first, as every strategy may."""

    def factor(self, state: ShardState, push: Push) -> float | None:
        return None


def trained(rule: type[AsgdServer], spec: JobSpec, pushes: list[F32]) -> F32:
    shard = Shard(spec, rule(spec), 0, 1, 1)
    hello(shard, 0, 1, SIZE)
    bring(shard, 0, 1, np.linspace(-1, 1, SIZE, dtype=np.float32))
    encoder = Encoder(spec.codec, SIZE)
    for sequence, vector in enumerate(pushes, 1):
        message = Exchange(0, 1, sequence, 0, sequence - 1, 8, 1, False, True, codec=spec.codec.push)
        reply = shard.exchange(message, as_frame(encoder.encode(vector, 0)))
        assert isinstance(reply, Reply) and reply.verdict == "applied"
    return shard.state.weights


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"optimizer": {"weightDecay": 0.01}},
        {"optimizer": {"momentum": 0.9}},
        {"algorithm": {"name": "asgd", "mode": "delta"}},
    ],
)
def test_adding_packed_pushes_gives_the_bits_of_decoding_them_first(
    name: str, fields: dict[str, Any]
) -> None:
    spec = asgd_spec(0.3, codec={"push": name, "topRatio": 0.02}, **fields)
    rng = np.random.default_rng(0)
    pushes = [rng.standard_normal(SIZE).astype(np.float32) for _ in range(4)]
    packed, decoded = trained(AsgdServer, spec, pushes), trained(Unfused, spec, pushes)
    assert packed.tobytes() == decoded.tobytes()
    assert np.abs(packed - np.linspace(-1, 1, SIZE)).max() > 0.01


def test_plain_sgd_decodes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = asgd_spec(0.3, codec={"push": "topk"})
    original = module.codec.decode

    def decode(name: str, *rest: Any) -> F32:
        assert name == "fp32", "only the initial weights"
        return original(name, *rest)

    monkeypatch.setattr(module.codec, "decode", decode)
    assert trained(AsgdServer, spec, [np.ones(SIZE, np.float32)]).any()


@pytest.mark.parametrize("name", names())
def test_a_strategy_that_applies_in_its_own_way_says_so(name: str) -> None:
    """Else its pushes would be added past it."""
    rule = type(strategy(name).server(asgd_spec(0.1, algorithm={"name": name})))
    places = {method: next(c for c in rule.__mro__ if method in vars(c)) for method in ("apply", "factor")}
    assert issubclass(places["factor"], places["apply"]) or places["factor"].__name__ == "ServerStrategy"


def test_what_codecs_save_is_counted_both_ways() -> None:
    spec = asgd_spec(0.3, codec={"push": "bf16", "pull": "int8", "blockSize": 100})
    shard = Shard(spec, AsgdServer(spec), 0, 1, 1)
    hello(shard, 0, 1, SIZE)
    bring(shard, 0, 1, np.ones(SIZE, np.float32))
    encoder, held, saved = Encoder(spec.codec, SIZE), 0, []
    for sequence in (1, 2):
        message = Exchange(0, 1, sequence, 0, sequence - 1, 8, 1, True, True, codec="bf16", held=held)
        reply = shard.exchange(message, as_frame(encoder.encode(np.ones(SIZE, np.float32), 0)))
        assert isinstance(reply, Reply)
        shard.payload(reply, message, 0)
        held = reply.state
        saved.append(shard.saved)
    assert saved == [2 * SIZE, 2 * SIZE + 2 * SIZE + 3 * SIZE - 4 * 30]
