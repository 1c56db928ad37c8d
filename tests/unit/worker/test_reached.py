"""What a worker's hello tells of a shard's earlier starts: a start that comes later knows by it what was lost."""

from __future__ import annotations

from asgd.wire.limits import STARTS_MOST
from asgd.wire.messages import Hello
from tests.unit.worker.test_channel_parts import Talk


def said(talk: Talk) -> Hello:
    return talk.channel.greeting()


def test_a_hello_tells_how_far_each_start_had_come() -> None:
    talk = Talk()
    talk.welcome(1)
    talk.push(0, 1, 7)
    assert (said(talk).term, said(talk).seen, said(talk).past) == (1, 7, [])
    talk.welcome(3)
    assert (said(talk).term, said(talk).seen, said(talk).past) == (3, 0, [(1, 7, 0)])
    talk.push(0, 1, 2)
    talk.welcome(4)
    assert (said(talk).term, said(talk).past) == (4, [(1, 7, 0), (3, 2, 0)])


def test_a_welcome_that_was_overtaken_takes_nothing_back() -> None:
    talk = Talk()
    talk.welcome(1)
    talk.push(0, 1, 7)
    talk.welcome(1)
    assert said(talk).seen == 7


def test_only_so_many_starts_are_told() -> None:
    talk = Talk()
    for term in range(1, 3 * STARTS_MOST):
        talk.welcome(term)
        talk.push(0, 1, term)
    past = said(talk).past
    assert len(past) == STARTS_MOST and past[-1][0] == 3 * STARTS_MOST - 2


def test_a_server_that_was_replaced_is_not_heard_once_the_next_one_has_answered_a_lease() -> None:
    talk = Talk()
    talk.welcome(1)
    talk.push(0, 1, 7)
    channel = talk.channel
    channel.heed(2)
    assert not channel.joined and said(talk).past == [(1, 7, 0)]
    channel.heed(1)
    assert channel.term == 2
    talk.welcome(1)
    assert not channel.joined, "the one that was replaced lives on and welcomes"
    talk.welcome(2)
    assert channel.joined
    assert talk.push(1, 2, 1).base == 0, "a part that the old one gave is no base"
