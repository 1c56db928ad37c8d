"""A schedule in epochs needs the data's size with the first push, on every shard."""

from __future__ import annotations

from tests.unit.server.peers import hello, make_shard


def test_every_shard_learns_the_size_of_the_data_when_a_worker_joins() -> None:
    shard = make_shard(index=1, shards=2)
    hello(shard, 0, 1, 10, role="worker", layout="layout", dataset=1437)
    assert shard.state.dataset == 1437
