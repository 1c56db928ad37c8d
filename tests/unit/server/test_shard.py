"""One shard: who may join, what is refused and counted, and who has to wait."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from asgd.errors import ProtocolError
from asgd.server.shard import Parked
from asgd.wire.messages import Exchange, Fault, Init, Pull, Reply, Welcome
from tests.checks.harness import as_frame, asgd_spec
from tests.unit.server.peers import (
    bring,
    hello,
    make_shard,
    pull,
    push,
    ready_shard,
    snapshot,
    verdict,
)


@pytest.fixture(autouse=True, scope="module")
def _chunks(small_chunks: int) -> int:
    return small_chunks


def ones(size: int = 4, value: float = 1.0) -> np.ndarray:
    return np.full(size, value, np.float32)


# -- joining -------------------------------------------------------------------------------------------


def test_the_first_worker_is_asked_for_the_weights_and_the_others_wait_for_it() -> None:
    shard = make_shard()
    first = hello(shard, 0, 1, 10)
    assert isinstance(first, Welcome) and first.bring and not first.ready
    second = hello(shard, 1, 1, 10)
    assert isinstance(second, Welcome) and not second.bring and not second.ready
    assert verdict(push(shard, 1, 1, ones(10))) == "fault:hello"
    bring(shard, 0, 1, np.arange(10, dtype=np.float32))
    again = hello(shard, 1, 1, 10)
    assert isinstance(again, Welcome) and again.ready and not again.bring
    assert shard.state.weights.tolist() == list(range(10))


def test_when_the_bringer_dies_half_way_the_next_worker_brings_all_of_it() -> None:
    shard = make_shard()
    hello(shard, 0, 1, 10)
    assert shard.init(Init(0, 1, 0), as_frame(ones(4, 9.0))) is None
    shard.leave(0, 1)
    second = hello(shard, 1, 1, 10)
    assert isinstance(second, Welcome) and second.bring
    late = shard.init(Init(0, 1, 1), as_frame(ones(4, 9.0)))
    assert isinstance(late, Fault) and late.code == "order"
    bring(shard, 1, 1, ones(10, 2.0))
    assert shard.ready and shard.state.weights.tolist() == [2.0] * 10


def test_initial_weights_that_come_twice_or_too_late_change_nothing() -> None:
    shard = ready_shard(4)
    assert shard.init(Init(0, 1, 0), as_frame(ones(4, 9.0))) is None
    assert shard.state.weights.tolist() == [1.0] * 4


def test_initial_weights_without_or_with_a_wrong_payload_are_refused_and_can_be_sent_again() -> None:
    shard = make_shard()
    hello(shard, 0, 1, 4)
    for payload in (None, as_frame(ones(3))):
        with pytest.raises(ProtocolError):
            shard.init(Init(0, 1, 0), payload)
    bring(shard, 0, 1, ones(4))
    assert shard.ready


def test_a_model_of_another_layout_is_refused_and_the_refused_one_is_no_member() -> None:
    shard = ready_shard(4)
    answer = hello(shard, 1, 1, 4, layout="another")
    assert isinstance(answer, Fault) and answer.code == "layout" and "another" in answer.text
    assert list(shard.members) == [0]


def test_a_worker_that_came_back_shuts_out_its_former_self() -> None:
    shard = ready_shard(4)
    hello(shard, 0, 2, 4)
    assert verdict(push(shard, 0, 1, ones(), incarnation=1)) == "fault:session"
    assert verdict(push(shard, 0, 1, ones(), incarnation=2)) == "applied"
    zombie = hello(shard, 0, 1, 4)
    assert isinstance(zombie, Fault) and zombie.code == "session"
    assert verdict(push(shard, 0, 2, ones(), incarnation=2)) == "applied"
    shard.leave(0, 1)
    assert shard.members == {0: 2}


def test_whoever_has_not_said_hello_is_asked_to() -> None:
    shard = ready_shard(4)
    assert verdict(push(shard, 7, 1, ones())) == "fault:hello"
    assert verdict(pull(shard, 7)) == "fault:hello"
    assert verdict(pull(shard, 0, role="evaluator")) == "pulled"


# -- verdicts ------------------------------------------------------------------------------------------


def test_a_push_is_applied_by_the_optimizer_and_its_reply_carries_the_new_weights() -> None:
    shard = ready_shard(6)
    vector = np.array([1, 2, 3, 4, 5, 6], np.float32)
    first = push(shard, 0, 1, vector, 0, pull=True)
    assert isinstance(first, Reply)
    assert (first.verdict, first.version, first.samples, first.codec) == ("applied", 1, 8, "fp32")
    assert shard.weights(Pull("worker", 0, 1, 0, 1), 0).tolist() == [-0.5, -1, -1.5, -2]
    assert shard.weights(Pull("worker", 0, 1, 1, 1), 0).tolist() == [1, 1]
    second = push(shard, 0, 1, vector, 1)
    assert isinstance(second, Reply) and (second.version, second.codec) == (1, "")
    assert shard.state.weights.tolist() == [0.5, 0, -0.5, -1, -1.5, -2]


def test_a_push_beyond_the_bound_is_refused_once_and_counted_once() -> None:
    spec = asgd_spec(0.5, exchange={"staleness": {"max": 1, "policy": "Refuse"}})
    shard = ready_shard(6, spec)
    for worker in (1, 2):
        hello(shard, worker, 1, 6)
        for chunk in range(2):
            assert verdict(push(shard, worker, 1, ones(6), chunk)) == "applied"
    assert verdict(push(shard, 0, 1, ones(6), 0, base=0)) == "refused:stale"
    assert verdict(push(shard, 0, 1, ones(6), 1, base=0)) == "refused:stale"
    assert verdict(push(shard, 0, 1, ones(6), 0, base=0)) == "duplicate"
    assert verdict(push(shard, 0, 2, ones(6), 0, base=1)) == "applied"
    assert dict(shard.refused) == {"stale": 1}
    assert shard.state.version == 3
    assert dict(shard.histogram) == {0: 1, 1: 2}


@pytest.mark.parametrize(
    ("limit", "scales"), [(1, [1, 1, 1 / 2, 1 / 3]), (2, [1, 1, 1, 2 / 3]), (0, [1, 1, 1 / 2, 1 / 3])]
)
def test_the_policy_scale_shrinks_a_push_by_its_staleness(limit: int, scales: list[float]) -> None:
    spec = asgd_spec(1.0, exchange={"staleness": {"max": limit, "policy": "Scale"}})
    shard = ready_shard(4, spec)
    steps = []
    for sequence in range(1, 5):
        before = float(shard.state.weights[0])
        assert verdict(push(shard, 0, sequence, ones(), base=0)) == "applied"
        steps.append(before - float(shard.state.weights[0]))
    assert steps == pytest.approx(scales, abs=1e-6)


def test_a_push_from_a_future_that_a_restart_lost_is_refused_as_rollback() -> None:
    shard = ready_shard(4)
    assert verdict(push(shard, 0, 1, ones(), base=5)) == "refused:rollback"
    assert shard.state.weights.tolist() == [1.0] * 4
    assert (shard.state.version, dict(shard.refused)) == (0, {"rollback": 1})


@pytest.mark.parametrize("pushed", [0, 2])
def test_a_push_from_before_or_after_a_rollback_that_this_shard_is_not_at_is_refused_and_blames_nobody(
    pushed: int,
) -> None:
    shard = ready_shard(4)
    shard.rollbacks = 1
    clocks = dict(shard.state.clocks)
    answer = push(shard, 0, 1, ones(value=1e30), rollbacks=pushed)
    assert isinstance(answer, Reply)
    assert (answer.verdict, answer.rollbacks) == ("refused:rollback", 1)
    assert shard.state.weights.tolist() == [1.0] * 4
    assert shard.state.clocks == clocks and not shard.outliers.workers
    assert verdict(push(shard, 0, 2, ones(), rollbacks=1)) == "applied"


@pytest.mark.parametrize("codec", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("bad", [np.inf, np.nan])
def test_inf_or_nan_is_refused_although_the_worker_vouched_for_it(codec: str, bad: float) -> None:
    from asgd.wire.codec import pack

    shard = ready_shard(4)
    vector = np.array([1, bad, 1, 1], np.float32)
    assert verdict(push(shard, 0, 1, pack(codec, vector), codec=codec)) == "refused:nonfinite"
    assert shard.state.weights.tolist() == [1.0] * 4
    assert (shard.state.version, shard.state.samples, dict(shard.refused)) == (0, 0, {"nonfinite": 1})
    assert not shard.histogram


def test_a_push_that_its_worker_found_non_finite_needs_no_payload() -> None:
    shard = ready_shard(6)
    assert verdict(push(shard, 0, 1, ones(0), 0, finite=False)) == "refused:nonfinite"
    assert verdict(push(shard, 0, 1, ones(0), 1, finite=False)) == "refused:nonfinite"
    assert shard.refused["nonfinite"] == 1
    assert verdict(push(shard, 0, 2, ones(6), 0)) == "applied"


def test_a_later_chunk_that_is_not_finite_ends_its_push_and_no_other() -> None:
    shard = ready_shard(6)
    vector = np.array([1, np.nan, 1, 1, 1, 1], np.float32)
    assert verdict(push(shard, 0, 1, vector, 0)) == "applied"
    assert verdict(push(shard, 0, 1, vector, 1)) == "refused:nonfinite"
    assert np.isfinite(shard.state.weights).all()
    assert [verdict(push(shard, 0, 2, ones(6), chunk, base=1)) for chunk in (0, 1)] == ["applied"] * 2


@pytest.mark.parametrize(
    ("frame", "fields"),
    [
        (None, {}),
        (b"", {}),
        (b"\x00" * 15, {}),
        (b"\x00" * 16, {"codec": "zip"}),
        (b"\x00\x3c", {"codec": "fp16"}),
    ],
)
def test_a_malformed_payload_is_refused_before_anything_is_believed(
    frame: bytes | None, fields: dict[str, Any]
) -> None:
    shard = ready_shard(4)
    before = snapshot(shard)[1]
    with pytest.raises(ProtocolError):
        shard.exchange(Exchange(0, 1, 1, 0, 0, 8, 1, True, True, **fields), frame)
    assert snapshot(shard)[1] == before
    assert verdict(push(shard, 0, 1, ones())) == "applied"


@pytest.mark.parametrize("payload", [None, b"", bytes(3), bytes(4 * 7), bytes(4 * 9)])
def test_several_chunks_that_come_as_anything_but_their_elements_are_refused(payload: bytes | None) -> None:
    """A worker may say that they lie in shared memory although it has none."""
    shard = ready_shard(10)
    claim = Exchange(0, 1, 1, 0, 0, 8, 1, True, True, shared=True, run=2)
    with pytest.raises(ProtocolError):
        shard.exchange(claim, payload)
    assert verdict(push(shard, 0, 1, ones())) == "applied"
    assert shard.state.version == 1


def test_a_chunk_that_the_shard_does_not_have_is_a_fault_of_the_protocol() -> None:
    shard = ready_shard(4)
    push(shard, 0, 1, ones())
    assert verdict(push(shard, 0, 1, ones(), 1)) == "fault:protocol"
    assert verdict(pull(shard, 0, chunk=1)) == "fault:protocol"
    assert verdict(pull(shard, 0, chunk=1, role="evaluator")) == "fault:protocol"


def test_pushes_of_two_workers_interleave_chunk_by_chunk() -> None:
    shard = ready_shard(6)
    hello(shard, 1, 1, 6)
    assert verdict(push(shard, 0, 1, ones(6), 0)) == "applied"
    assert verdict(push(shard, 1, 1, ones(6, 2.0), 0)) == "applied"
    assert verdict(push(shard, 1, 1, ones(6, 2.0), 1)) == "applied"
    assert verdict(push(shard, 0, 1, ones(6), 1)) == "applied"
    assert shard.state.weights.tolist() == [-0.5] * 6
    assert dict(shard.histogram) == {0: 1, 1: 1}


def test_adam_corrects_its_bias_alike_in_every_chunk_of_a_push_whoever_pushes_between() -> None:
    spec = asgd_spec(0.1, optimizer={"name": "adam"})
    shard = ready_shard(8, spec)
    hello(shard, 1, 1, 8)
    for worker, chunk in ((0, 0), (1, 0), (0, 1), (1, 1)):
        push(shard, worker, 1, ones(8), chunk)
    assert shard.state.weights[:4].tolist() == shard.state.weights[4:].tolist()


# -- waiting -------------------------------------------------------------------------------------------


def waits(call: Any) -> bool:
    try:
        call()
    except Parked:
        return True
    return False


def ssp(bound: int) -> Any:
    return asgd_spec(0.5, exchange={"staleness": {"max": bound, "policy": "Wait"}})


@pytest.mark.parametrize("bound", [0, 1, 3])
def test_under_wait_a_fast_worker_stops_exactly_bound_plus_1_pushes_ahead(bound: int) -> None:
    shard = ready_shard(4, ssp(bound))
    hello(shard, 1, 1, 4)
    done = 0
    while not waits(lambda: pull(shard, 0)):
        done += 1
        assert verdict(push(shard, 0, done, ones())) == "applied"
    assert done == bound + 1
    assert not waits(lambda: pull(shard, 1))
    push(shard, 1, 1, ones())
    assert not waits(lambda: pull(shard, 0))


def test_under_wait_nobody_waits_for_a_worker_that_is_gone_or_has_no_data() -> None:
    for absent in ("leave", "rest"):
        shard = ready_shard(4, ssp(0))
        hello(shard, 1, 1, 4)
        push(shard, 0, 1, ones())
        assert waits(lambda shard=shard: pull(shard, 0))
        getattr(shard, absent)(1)
        assert not waits(lambda shard=shard: pull(shard, 0))


def test_a_worker_that_rested_or_joins_late_starts_with_the_clock_of_the_slowest() -> None:
    shard = ready_shard(4, ssp(1))
    hello(shard, 1, 1, 4)
    for sequence in range(1, 6):
        push(shard, 0, sequence, ones())
        push(shard, 1, sequence, ones())
    shard.rest(1)
    push(shard, 0, 6, ones())
    push(shard, 1, 6, ones())
    hello(shard, 2, 1, 4)
    assert shard.state.clocks == {0: 6, 1: 7, 2: 6}
    assert not any(waits(lambda worker=worker: pull(shard, worker)) for worker in range(3))


def test_a_refused_push_moves_no_clock_unless_it_is_bad_for_nobody_waits_for_better_ones() -> None:
    shard = ready_shard(4, ssp(0))
    push(shard, 0, 1, ones(), base=9)
    assert shard.state.clocks == {0: 0}
    push(shard, 0, 2, ones(), finite=False)
    assert shard.state.clocks == {0: 1}


def test_in_a_warm_start_only_the_lowest_live_worker_gets_weights() -> None:
    shard = make_shard(asgd_spec(0.5, exchange={"warmStart": {"samples": 16}}))
    for worker in (1, 2, 3):
        hello(shard, worker, 1, 4)
    bring(shard, 1, 1, ones())
    assert [waits(lambda worker=worker: pull(shard, worker)) for worker in (1, 2, 3)] == [False, True, True]
    shard.leave(1)
    assert [waits(lambda worker=worker: pull(shard, worker)) for worker in (2, 3)] == [False, True]
    assert not waits(lambda: pull(shard, 0, role="evaluator"))
    for sequence in (1, 2):
        push(shard, 2, sequence, ones())
    assert not waits(lambda: pull(shard, 3))


def test_an_evaluator_waits_until_there_are_weights() -> None:
    shard = make_shard()
    hello(shard, 0, 1, 4)
    assert waits(lambda: pull(shard, 0, role="evaluator"))
