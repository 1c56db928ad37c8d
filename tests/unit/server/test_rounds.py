"""Rounds over two shards: a push that only one of them holds must not hold anybody up."""

from __future__ import annotations

import numpy as np

from asgd.algorithms.parle import MeanServer
from asgd.server.round_table import RoundPart, RoundTable
from asgd.server.shard import Shard
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
