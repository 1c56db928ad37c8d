"""One shard that starts again: what it keeps, and what it knows to be lost."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from asgd.errors import ProtocolError
from asgd.spec.optimizers import FIELDS
from asgd.wire.messages import Welcome
from tests.checks.harness import asgd_spec
from tests.checks.optimizers import LAYERWISE
from tests.unit.server.peers import (
    bring,
    hello,
    make_shard,
    push,
    ready_shard,
    reborn,
    snapshot,
    verdict,
)


@pytest.fixture(autouse=True, scope="module")
def _chunks(small_chunks: int) -> int:
    return small_chunks


def ones(size: int = 4, value: float = 1.0) -> np.ndarray:
    return np.full(size, value, np.float32)


BY_CHUNK = [name for name in FIELDS if name not in LAYERWISE]
"""What looks at whole tensors keeps the chunks of a push in memory: `test_gathering.py`."""


@pytest.mark.parametrize("optimizer", [{"momentum": 0.9}, *({"name": name} for name in BY_CHUNK)])
def test_a_restart_between_two_chunks_of_a_push_leaves_the_same_bits_as_none(
    optimizer: dict[str, Any],
) -> None:
    schedule = {"name": "exponential", "unit": "samples", "every": 8.0, "gamma": 0.5}
    staleness = {"max": 1, "policy": "Scale"}
    spec = asgd_spec(0.5, optimizer={**optimizer, "schedule": schedule}, exchange={"staleness": staleness})
    results = []
    for restart in (False, True):
        shard = ready_shard(10, spec)
        hello(shard, 1, 1, 10)
        rng = np.random.default_rng(1)
        for sequence in range(1, 5):
            vectors = rng.standard_normal((2, 10)).astype(np.float32)
            for chunk, worker in ((0, 0), (0, 1), (1, 1), (1, 0), (2, 0), (2, 1)):
                answer = push(shard, worker, sequence, vectors[worker], chunk, base=max(0, sequence - 2))
                assert verdict(answer) == "applied"
                if restart:
                    shard = reborn(shard, shard.term + 1)
                    assert verdict(push(shard, worker, sequence, vectors[worker], 0)) == "fault:hello"
                    hello(shard, 0, 1, 10)
                    hello(shard, 1, 1, 10)
        results.append(
            (shard.state.weights.tobytes(), {k: v.tobytes() for k, v in shard.state.slots.items()})
        )
    assert results[0] == results[1]


@pytest.mark.parametrize("optimizer", LAYERWISE)
@pytest.mark.parametrize("after", [0, 1, 2])
def test_a_push_that_a_restart_cut_in_two_is_counted_as_lost_where_the_rule_looks_at_whole_tensors(
    optimizer: str, after: int
) -> None:
    shard = ready_shard(10, asgd_spec(0.5, optimizer={"name": optimizer}))
    for chunk in range(3):
        assert verdict(push(shard, 0, 1, ones(10), chunk)) == "applied"
        if chunk == after:
            before = shard.state.weights.copy()
            shard = reborn(shard, shard.term + 1)
            hello(shard, 0, 1, 10)
    moved = (shard.state.weights != before).any()
    assert shard.state.version == 1 and not moved
    assert shard.losses.updates == (0 if after == 2 else 1)
    assert verdict(push(shard, 0, 2, ones(10), 0, base=1)) == "applied"
    assert shard.losses.updates == (0 if after == 2 else 1), "told once"


def test_a_restart_keeps_counts_and_knows_how_many_acknowledged_updates_it_lost() -> None:
    shard = ready_shard(4)
    for sequence in range(1, 4):
        push(shard, 0, sequence, ones(), base=sequence - 1)
    push(shard, 0, 4, ones(), base=99)
    saved = snapshot(shard)
    for sequence in range(5, 8):
        push(shard, 0, sequence, ones(), base=sequence - 2)
    fresh = reborn(shard, 2, saved)
    assert (fresh.state.version, fresh.state.samples, fresh.losses.updates) == (3, 24, 0)
    assert (dict(fresh.histogram), dict(fresh.refused)) == ({0: 3}, {"rollback": 1})
    hello(fresh, 0, 1, 4, seen=6, term=1, sequence=7)
    assert fresh.losses.updates == 3
    hello(fresh, 0, 1, 4, seen=6, term=2, sequence=7)
    assert fresh.losses.updates == 3
    again = reborn(fresh, 3)
    assert again.losses.updates == 3


def test_after_a_restart_an_acknowledged_push_that_was_saved_is_not_applied_again() -> None:
    shard = ready_shard(4)
    push(shard, 0, 1, ones())
    fresh = reborn(shard, 2)
    hello(fresh, 0, 1, 4, seen=1, term=1)
    assert verdict(push(fresh, 0, 1, ones())) == "duplicate"
    assert fresh.state.weights.tolist() == [0.5] * 4


def test_a_restart_without_any_checkpoint_takes_a_workers_copy_and_counts_all_as_lost() -> None:
    shard = make_shard(term=2)
    shard.start_over()
    answer = hello(shard, 3, 7, 4, seen=41, term=1, sequence=12)
    assert isinstance(answer, Welcome) and answer.bring
    bring(shard, 3, 7, ones(4, 5.0))
    assert shard.losses.updates == 41
    assert verdict(push(shard, 3, 12, ones(), incarnation=7)) == "duplicate"
    assert verdict(push(shard, 3, 13, ones(), incarnation=7)) == "applied"
    assert shard.state.weights.tolist() == [4.5] * 4


def test_what_is_saved_of_a_strategy_s_memory_does_not_change_while_it_is_written() -> None:
    shard = ready_shard(4)
    shard.state.facts["leaders"] = {"0": [1, 0.5, 3]}
    saved = shard.meta()
    shard.state.facts["leaders"]["0"][1] = None
    shard.state.facts["leaders"]["1"] = [2, 0.4, 4]
    assert saved["facts"] == {"leaders": {"0": [1, 0.5, 3]}}
    fresh = make_shard(term=2)
    fresh.restore(4, "layout", shard.arrays(), saved)
    fresh.state.facts["leaders"].clear()
    assert saved["facts"] == {"leaders": {"0": [1, 0.5, 3]}}


def test_what_adagrad_sums_is_not_taken_for_what_rmsprop_and_adadelta_average() -> None:
    arrays, saved = snapshot(ready_shard(4, asgd_spec(0.5, optimizer={"name": "adagrad"})))
    meta = json.loads(saved)
    for name in ("rmsprop", "adadelta"):
        shard = make_shard(asgd_spec(0.5, optimizer={"name": name}))
        with pytest.raises(ProtocolError, match="no meanSquares"):
            shard.restore(4, "layout", arrays, meta)


def test_a_checkpoint_of_another_optimizer_is_refused_by_name() -> None:
    plain = ready_shard(4)
    arrays, _ = snapshot(plain)
    shard = make_shard(asgd_spec(0.5, optimizer={"momentum": 0.9}))
    with pytest.raises(ProtocolError, match="no momentum"):
        shard.restore(4, "layout", arrays, {"version": 1, "samples": 8})
