"""What restarts of a shard have lost is counted once, also by one that found no save of what others had counted."""

from __future__ import annotations

import json

import numpy as np
import pytest

from asgd.server.coordinator import RETURN_SECONDS
from asgd.server.core import ServerCore
from asgd.server.losses import STARTS_KEPT, Losses
from asgd.server.saving import Restored, StoreFacts
from asgd.server.shard import Shard
from tests.unit.server.members import SIZE as BOTH
from tests.unit.server.members import Members
from tests.unit.server.members import hello as greeting
from tests.unit.server.peers import hello, push, ready_shard, reborn, snapshot

SIZE = 4


def pushed(shard: Shard, first: int, last: int) -> None:
    for sequence in range(first, last + 1):
        push(shard, 0, sequence, np.ones(SIZE, np.float32), base=shard.state.version)


def saved_and_restored(losses: Losses) -> Losses:
    later = Losses()
    later.load(json.loads(json.dumps(losses.state())))
    return later


def test_a_second_restart_before_any_save_forgets_nothing_that_the_first_had_lost() -> None:
    shard = ready_shard(SIZE)
    pushed(shard, 1, 2)
    save = snapshot(shard)
    pushed(shard, 3, 7)
    second = reborn(shard, 2, save)
    hello(second, 0, 1, SIZE, seen=7, term=1, sequence=7)
    assert second.losses.updates == 5
    pushed(second, 8, 10)
    third = reborn(shard, 3, save)
    assert third.losses.updates == 0, "nobody has told it yet"
    hello(third, 0, 1, SIZE, seen=5, term=2, past=[(1, 7, 56)], sequence=10)
    assert (third.losses.updates, third.losses.samples) == (5 + 3, 8 * (7 - 2) + 0)


def test_who_comes_late_tells_of_a_start_that_had_begun_with_less_than_this_one() -> None:
    shard = ready_shard(SIZE)
    pushed(shard, 1, 1)
    second = reborn(shard, 2)
    pushed(shard, 2, 4)
    hello(second, 0, 1, SIZE, seen=1, term=1)
    pushed(second, 2, 6)
    third = reborn(second, 3)
    assert third.state.version == 6
    hello(third, 0, 1, SIZE, seen=4, term=1)
    assert third.losses.updates == 3, "what the first start did after the second had begun"


def test_the_same_news_from_several_workers_counts_once() -> None:
    losses = Losses()
    losses.began(2, 10, 80)
    for version in (14, 12, 14):
        losses.told(1, version, 8 * version)
    assert (losses.updates, losses.samples) == (4, 32)
    losses = saved_and_restored(losses)
    losses.told(1, 13, 104)
    assert (losses.updates, losses.samples) == (4, 32)


def test_what_a_peer_has_seen_of_this_start_or_below_its_beginning_is_no_loss() -> None:
    losses = Losses()
    losses.began(2, 10, 80)
    losses.told(2, 99, 99)
    losses.told(1, 9, 80)
    assert (losses.updates, losses.samples) == (0, 0)


def test_after_very_many_restarts_losses_stay_counted_and_the_table_small() -> None:
    losses = Losses()
    for term in range(2, 3 * STARTS_KEPT):
        losses.began(term, 5, 40)
        losses.told(term - 1, 6, 48)
    assert losses.updates == 3 * STARTS_KEPT - 2
    losses.told(1, 9, 72)
    assert losses.updates == 3 * STARTS_KEPT - 2, "too long ago to tell whether it was counted"
    assert len(losses.state()["begun"]) == STARTS_KEPT
    assert saved_and_restored(losses).updates == losses.updates


@pytest.mark.parametrize("restarts", [1, 2])
def test_samples_of_lost_updates_are_counted_as_revisited_once(restarts: int) -> None:
    members = Members()
    shard, coordinator = members.core.shard, members.core.primary.coordinator
    shard.losses.began(2, 0, 0)
    for _ in range(restarts):
        members.say(0, greeting(0, seen=3, samples=24, term=1))
    assert coordinator.pool is not None and coordinator.pool.revisited == 24


def test_losses_that_a_save_holds_are_not_counted_as_revisited_again() -> None:
    members = Members()
    shard = members.core.shard
    shard.losses.began(2, 0, 0)
    members.say(0, greeting(0, seen=3, samples=24, term=1))
    meta, state = json.loads(json.dumps([shard.meta(), members.core.job_state(0.0)]))
    later = ServerCore(members.core.job, 0, 3, store=StoreFacts("memory:"))
    later.restore(Restored(1, BOTH, "layout", shard.arrays(), meta, state), 0.0)
    later.receive(0, greeting(0, seen=3, samples=24, term=1), None, 0.0)
    assert later.primary is not None and later.primary.coordinator.pool is not None
    assert later.primary.coordinator.pool.revisited == 24


def reborn_job() -> ServerCore:
    """Shard 0, restarted from a save of 2 updates after workers had seen more."""
    members = Members()
    members.push(0, 1), members.push(1, 1)
    shard = members.core.shard
    meta, state = json.loads(json.dumps([shard.meta(), members.core.job_state(0.0)]))
    later = ServerCore(members.core.job, 0, 2, store=StoreFacts("memory:"))
    later.restore(Restored(1, BOTH, "layout", shard.arrays(), meta, state), 0.0)
    return later


def test_a_worker_that_says_hello_to_a_job_that_is_over_still_tells_what_was_lost() -> None:
    later = reborn_job()
    later.receive(0, greeting(0, seen=5, samples=40, term=1), None, 0.0)
    assert later.primary is not None
    later.primary.coordinator.stop("updates", 0.0)
    later.receive(1, greeting(1, seen=7, samples=56, term=1), None, 0.1)
    assert later.shard.losses.updates == 7 - 2


def test_a_job_that_ends_at_once_after_a_restart_hears_every_worker_of_the_earlier_start_first() -> None:
    later = reborn_job()
    assert later.primary is not None
    coordinator = later.primary.coordinator
    coordinator.stop("updates", 0.0)
    later.tick(0.1)
    assert coordinator.phase == "stopping"
    later.tick(RETURN_SECONDS + 0.1)
    assert coordinator.phase == "saving"


@pytest.mark.parametrize(("run", "counted"), [("", 1), ("another", 0)])
def test_only_a_server_that_comes_back_within_its_run_counts_as_a_restart(run: str, counted: int) -> None:
    members = Members()
    members.push(0, 1), members.push(1, 1)
    shard = members.core.shard
    meta, state = json.loads(json.dumps([shard.meta(), members.core.job_state(0.0)]))
    later = ServerCore(members.core.job, 0, 2, run=run, store=StoreFacts("memory:"))
    later.restore(Restored(1, BOTH, "layout", shard.arrays(), meta, state), 0.0)
    assert later.primary is not None
    assert later.primary.status(0.0).restarts["server"] == counted
