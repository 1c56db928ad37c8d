"""Rounds over two shards: a push that only one of them holds must not hold anybody up."""

from __future__ import annotations

import numpy as np

from asgd.algorithms.parle import MeanServer
from asgd.algorithms.safeguard import SafeguardServer
from asgd.server.round_table import RoundPart, RoundTable
from asgd.server.shard import Shard
from asgd.wire.messages import Decided
from tests.checks.virtual import job
from tests.unit.server.peers import bring, hello, push, verdict

SIZE = 6


def test_a_push_that_another_shard_refused_is_not_waited_for() -> None:
    spec = job(algorithm={"name": "parle"}, parameterServer={"shards": 2}).spec
    shards = [Shard(spec, MeanServer(spec), index, 2, 1) for index in range(2)]
    parts = [RoundPart(shard, MeanServer(spec)) for shard in shards]
    table = RoundTable(parts[0], 2)
    for shard in shards:
        for worker in (0, 1):
            hello(shard, worker, 1, SIZE)
        bring(shard, 0, 1, np.ones(SIZE, np.float32))
        assert verdict(push(shard, 1, 1, np.full(3, 2.0, np.float32))) == "applied"
    table.hear(parts[1].report())
    assert table.next() is None
    assert verdict(push(shards[0], 0, 1, np.full(3, 4.0, np.float32))) == "applied"
    table.hear(parts[1].report())
    assert table.next() is None  # it may still be on its way to shard 1
    assert verdict(push(shards[1], 0, 1, np.full(3, 4.0, np.float32), base=9)) == "refused:rollback"
    table.hear(parts[1].report())
    order = table.next()
    assert order is not None and order.members == [1] and parts[1].take(order)
    for shard in shards:
        assert (shard.state.weights == 2).all()
        assert shard.strategy.may_pull(shard.state, 0) and shard.strategy.may_pull(shard.state, 1)


def test_what_a_worker_gave_before_it_rests_is_in_the_round_although_another_shard_hears_it_later() -> None:
    spec = job(algorithm={"name": "parle"}, parameterServer={"shards": 2}).spec
    shards = [Shard(spec, MeanServer(spec), index, 2, 1) for index in range(2)]
    parts = [RoundPart(shard, MeanServer(spec)) for shard in shards]
    table = RoundTable(parts[0], 2)
    for shard in shards:
        hello(shard, 0, 1, SIZE)
        bring(shard, 0, 1, np.ones(SIZE, np.float32))
    assert verdict(push(shards[0], 0, 1, np.full(3, 4.0, np.float32))) == "applied"
    shards[0].rest(0)
    table.hear(parts[1].report())
    assert table.next() is None
    assert verdict(push(shards[1], 0, 1, np.full(3, 4.0, np.float32))) == "applied"
    table.hear(parts[1].report())
    order = table.next()
    assert order is not None and order.members == [0] and parts[1].take(order)
    assert all((shard.state.weights == 4).all() for shard in shards)


def measured_rounds(shards: int = 2) -> tuple[list[Shard], list[RoundPart], RoundTable]:
    """Two workers have given to a round of a strategy that measures what it was given."""
    spec = job(
        algorithm={"name": "safeguard"}, parameterServer={"shards": shards}, workers={"replicas": 2}
    ).spec
    made = [Shard(spec, SafeguardServer(spec), index, shards, 1) for index in range(shards)]
    parts = [RoundPart(shard, shard.strategy) for shard in made]
    for shard in made:
        for worker in (0, 1):
            hello(shard, worker, 1, SIZE)
        bring(shard, 0, 1, np.ones(SIZE, np.float32))
        give(shard)
    return made, parts, RoundTable(parts[0], shards)


def give(shard: Shard, sequence: int = 1) -> None:
    for worker in (0, 1):
        vector = np.full(SIZE // 2, worker + 1.0, np.float32)
        assert verdict(push(shard, worker, sequence, vector)) == "applied"


def test_a_shard_that_lost_what_it_held_measures_nothing_and_the_round_is_void() -> None:
    shards, parts, table = measured_rounds()
    table.hear(parts[1].report())
    order = table.next()
    assert order is not None and order.measure
    shards[1].state.inbox.clear()
    parts[1].take(order)
    assert parts[1].report().measures == {}
    table.hear(parts[1].report())
    order = table.next()
    assert order is not None and not order.measure and order.members == []


def test_measures_for_an_earlier_shard_0_are_not_reported_to_the_next() -> None:
    shards, parts, table = measured_rounds()
    table.hear(parts[1].report())
    order = table.next()
    assert order is not None and order.measure and parts[1].take(order)
    assert parts[1].report().measures
    spec = shards[0].spec
    later = RoundPart(Shard(spec, SafeguardServer(spec), 0, 2, 2), SafeguardServer(spec))
    void = Decided(1, later.shard.term, [])
    assert parts[1].take(void)
    report = parts[1].report()
    assert (report.primary_term, report.measured, report.measures) == (2, 0, {})


def test_a_round_with_a_push_that_one_shard_alone_holds_closes_with_what_has_begun() -> None:
    """Worker 2 gives nothing to this round before it has heard from worker 1, which waits for this round."""
    spec = job(algorithm={"name": "parle"}, parameterServer={"shards": 2}, workers={"replicas": 3}).spec
    shards = [Shard(spec, MeanServer(spec), index, 2, 1) for index in range(2)]
    parts = [RoundPart(shard, MeanServer(spec)) for shard in shards]
    table = RoundTable(parts[0], 2)
    for shard in shards:
        for worker in (0, 1, 2):
            hello(shard, worker, 1, SIZE)
        bring(shard, 0, 1, np.ones(SIZE, np.float32))
    given = np.full(3, 4.0, np.float32)
    assert verdict(push(shards[1], 1, 1, given)) == "applied"
    assert verdict(push(shards[0], 1, 1, given, base=9)) == "refused:rollback"
    assert verdict(push(shards[0], 0, 1, given)) == "applied"
    table.hear(parts[1].report())
    assert table.next() is None, "what worker 0 has begun to give is waited for"
    assert verdict(push(shards[1], 0, 1, given)) == "applied"
    table.hear(parts[1].report())
    order = table.next()
    assert order is not None and order.members == [0] and parts[1].take(order)
    assert all(shard.strategy.may_pull(shard.state, 1) for shard in shards)
