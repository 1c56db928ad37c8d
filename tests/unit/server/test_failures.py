"""User's code that raises at one place in every worker before its first push ends the job; nothing else of it does."""

from __future__ import annotations

from typing import Any

import pytest

from asgd.server.core import ServerCore
from asgd.wire.messages import Command, Done, Exchange, Failed, Hello, Init
from tests.checks.virtual import job


class Job:
    """Shard 0 of a job of `replicas` workers."""

    def __init__(self, replicas: int = 2) -> None:
        spec = job(stopAfter={"updates": 9}, workers={"replicas": replicas})
        self.core = ServerCore(spec, 0, 1)

    def say(self, message: Any, payload: Any = None) -> Any:
        ((_, said, _),) = self.core.receive(f"{message}".encode(), message, payload, 1.0)
        return said

    def join(self, index: int, incarnation: int = 1) -> None:
        layout = b'[["w",[4]]]'
        who = {"index": index, "incarnation": incarnation, "size": 4, "layout": "a", "tensors": layout}
        self.say(Hello(job="check", role="worker", dataset=64, **who))

    def push(self, index: int, incarnation: int = 1) -> None:
        push = Exchange(
            index,
            incarnation,
            sequence=1,
            chunk=0,
            base=0,
            samples=4,
            steps=1,
            pull=False,
            finite=True,
            loss=1.0,
        )
        assert self.say(push, bytes(16)).verdict == "applied"

    def fails(self, index: int, incarnation: int = 1, place: str = "train.py:12") -> bool:
        answer = self.say(Failed(index, incarnation, place))
        assert isinstance(answer, Done)
        return bool(answer.body)


def joined(replicas: int = 2) -> Job:
    server = Job(replicas)
    for index in range(replicas):
        server.join(index)
    server.say(Init(0, 1, 0), bytes(16))
    return server


def test_the_last_worker_to_fail_where_all_others_have_hears_so() -> None:
    server = joined(3)
    assert [server.fails(index) for index in (1, 0, 2)] == [False, False, True]


def test_a_worker_that_is_alone_fails_once() -> None:
    assert joined(1).fails(0)


def test_a_repeated_word_counts_once_and_gets_the_same_answer() -> None:
    server = joined()
    assert not server.fails(0) and not server.fails(0)
    assert server.fails(1) and server.fails(1)


def test_who_fails_at_another_place_is_started_again() -> None:
    server = joined()
    assert not server.fails(0) and not server.fails(1, place="train.py:13")
    server.join(0, 2)
    assert not server.fails(0, 2)
    server.join(1, 2)
    assert server.fails(1, 2)


def test_one_that_works_keeps_the_job_alive_however_often_the_other_fails() -> None:
    server = joined()
    for incarnation in range(1, 8):
        server.join(0, incarnation)
        assert not server.fails(0, incarnation)


def test_who_has_pushed_since_has_not_failed() -> None:
    server = joined()
    assert not server.fails(0)
    server.join(0, 2)
    server.push(0, 2)
    assert not server.fails(1)


def test_for_a_worker_that_never_comes_the_others_have_to_fail_twice() -> None:
    server = Job()
    server.join(0)
    assert not server.fails(0)
    server.join(0, 2)
    assert server.fails(0, 2)


def test_a_worker_beyond_the_jobs_replicas_counts_too() -> None:
    server = joined()
    server.join(5)
    assert not server.fails(0) and not server.fails(1)
    assert server.fails(5)


@pytest.mark.parametrize("index", [70, 1000])
def test_who_cannot_be_a_worker_is_refused(index: int) -> None:
    assert joined().say(Failed(index, 1, "train.py:1")).code == "refused:index"


def test_what_workers_raise_after_the_job_was_told_to_stop_is_not_held_against_it() -> None:
    server = joined()
    server.say(Command("stop", "interrupted"))
    assert not server.fails(0) and not server.fails(1)
