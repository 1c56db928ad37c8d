"""Ranges that a worker was granted: which of them still hold when messages are lost, overtaken or repeated."""

from __future__ import annotations

import pytest

from asgd.wire.messages import Fault, Granted, Lease, Welcome
from asgd.wire.partition import CHUNK
from asgd.worker.sending.leases import Leases
from tests.unit.server.members import STARTED, Members, hello, is_fault
from tests.unit.worker.test_channel_parts import Talk

RANGE = (0, 4, 28)


@pytest.fixture
def talk() -> Talk:
    return Talk()


def granted(leases: Leases, term: int, membership: int) -> None:
    """Asks for a range and is granted `RANGE`."""
    asking = leases.asking()
    assert isinstance(next(asking), Lease)
    with pytest.raises(StopIteration):
        asking.send(Granted(*RANGE, term=term, membership=membership))


def test_a_range_holds_although_the_welcome_to_its_membership_comes_after_it(talk: Talk) -> None:
    leases = Leases(0, 1, talk.channel)
    granted(leases, term=2, membership=1)
    talk.welcome(2, membership=1)
    assert leases.holds([RANGE])


@pytest.mark.parametrize(("term", "membership"), [(2, 2), (3, 1)])
def test_a_range_does_not_hold_in_the_next_membership_or_term(talk: Talk, term: int, membership: int) -> None:
    talk.welcome(2, membership=1)
    leases = Leases(0, 1, talk.channel)
    granted(leases, 2, 1)
    granted(leases, term, membership)
    assert not leases.holds([(0, 4, 8)])
    assert leases.holds([(0, 8, 28)]) is False, "the rest of it is others' too"
    assert leases.holds([RANGE]), "what it got as the new member"


def test_a_welcome_that_was_overtaken_takes_no_range_away(talk: Talk) -> None:
    talk.welcome(2, membership=3)
    leases = Leases(0, 1, talk.channel)
    granted(leases, 2, 3)
    talk.channel.hello(0.0)
    talk.welcome(2, membership=1)
    assert leases.holds([RANGE])


def test_a_worker_that_says_hello_again_is_the_same_member_until_it_was_given_up() -> None:
    members = Members()

    def number() -> int:
        return int(members.say(0, hello(0)).membership)

    first = number()
    assert number() == first
    answer = members.say(0, Lease(0, STARTED, 1))
    assert (answer.term, answer.membership) == (1, first)
    members.core.primary.coordinator.bye(0, STARTED, True, 100.0)
    assert is_fault(members.say(0, Lease(0, STARTED, 2)), "hello")
    assert number() > first


def test_a_request_that_was_overtaken_gets_no_range_that_nobody_would_visit() -> None:
    members = Members()
    pool = members.core.primary.coordinator.pool
    newest = members.lease(0, 2)
    leased = pool.cursor
    members.say(0, Lease(0, STARTED, 1))
    assert pool.cursor == leased and members.lease(0, 2) == newest


def test_a_request_that_was_overtaken_by_a_new_membership_gets_none_either() -> None:
    members = Members()
    coordinator = members.core.primary.coordinator
    members.lease(0, 2)
    coordinator.bye(0, STARTED, True, 100.0)
    members.say(0, hello(0))
    leased, waiting = coordinator.pool.cursor, list(coordinator.pool.returned)
    assert not isinstance(members.say(0, Lease(0, STARTED, 1)), Granted)
    assert (coordinator.pool.cursor, coordinator.pool.returned) == (leased, waiting)


def test_a_request_that_an_earlier_server_was_asked_is_not_served_by_the_next() -> None:
    members = Members()
    members.core.shard.term = 3
    assert is_fault(members.say(0, Lease(0, STARTED, 1, term=2)), "hello")
    assert isinstance(members.say(0, Lease(0, STARTED, 1, term=3)), Granted)


def test_a_worker_asks_for_ranges_in_the_name_of_the_newest_server_that_has_welcomed_it(talk: Talk) -> None:
    talk.welcome(1)
    asking = Leases(0, 1, talk.channel).asking()
    assert next(asking).term == 1
    asking.send(Fault("hello", "say hello first", 2))
    again = asking.send(Welcome(2, 0, 1, 0, 0, 8, CHUNK, True, False, membership=1))
    assert isinstance(again, Lease) and again.term == 2
