"""How long a worker waits for servers, on a clock of the test's own."""

from __future__ import annotations

import pytest

from asgd.errors import TryAgain
from asgd.worker.sending.patience import Patience


def shard() -> str:
    return "shard 1"


def test_silence_is_borne_for_so_many_seconds_and_then_said_of_whom() -> None:
    patience = Patience(300)
    patience.check(shard, heard=0.0, now=299.0)
    with pytest.raises(TryAgain, match="shard 1 has not answered for 300 s"):
        patience.check(shard, heard=0.0, now=301.0)


def test_a_worker_that_is_told_to_leave_has_its_drain_seconds_even_where_servers_answer() -> None:
    leaving: list[int] = []
    patience = Patience(300, 20, lambda: bool(leaving))
    patience.check(shard, heard=1000.0, now=1000.0)
    leaving.append(1)
    patience.check(shard, heard=1001.0, now=1001.0)
    patience.check(shard, heard=1018.0, now=1018.0)
    with pytest.raises(
        TryAgain, match=r"told to leave 19 s ago, of workers.drainSeconds 20, and shard 1 still has"
    ):
        patience.check(shard, heard=1020.0, now=1020.0)


def test_who_has_failed_waits_for_nobody() -> None:
    patience = Patience(300)
    patience.give_up("the script has failed")
    with pytest.raises(TryAgain, match="the script has failed: shard 1 is not waited for"):
        patience.check(shard, heard=0.0, now=0.0)
