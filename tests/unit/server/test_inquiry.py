"""Shard 0's talk with Zeno's oracle: it is asked once, and one that does not answer holds nobody up for ever."""

from __future__ import annotations

import numpy as np

from asgd.algorithms.registry import strategy
from asgd.algorithms.rounds import RoundServer
from asgd.server.evaluation import EVALUATOR_TIMEOUT_SECONDS
from asgd.server.inquiry import ANSWER_SECONDS, FIRST_SECONDS, Inquiry
from asgd.server.round_table import RoundPart, RoundTable
from asgd.server.shard import Shard
from asgd.wire.messages import Exchange, Hello, Init, Judged, Pull, Question
from tests.checks.harness import as_frame, job_spec

ORACLE = b"oracle"


def gathered() -> tuple[Shard, RoundTable, Inquiry]:
    """A shard of 3 parameters that two workers have pushed to, in a round that waits for the oracle."""
    spec = job_spec(algorithm={"name": "zeno"}, workers={"replicas": 2})
    rule = strategy("zeno").server(spec)
    assert isinstance(rule, RoundServer)
    shard = Shard(spec, rule, 0, 1, 1)
    for worker in (0, 1):
        shard.hello(Hello("check", "worker", worker, 1, 3, "layout"))
    shard.init(Init(0, 1, 0), as_frame(np.ones(3, np.float32)))
    for worker in (0, 1):
        push = Exchange(worker, 1, 1, 0, 0, 8, 1, False, True)
        shard.exchange(push, as_frame(np.full(3, 1.0 + worker, np.float32)))
    table = RoundTable(RoundPart(shard, rule), 1)
    while table.next():
        pass
    return shard, table, Inquiry(table)


def test_the_round_waits_and_the_oracle_is_asked_once() -> None:
    shard, _, desk = gathered()
    assert shard.state.version == 0 and desk.news() is None
    question = desk.hear(ORACLE, Judged(0, 0))
    assert question is not None and question.members == [0, 1]
    assert desk.news() is None
    assert desk.hear(ORACLE, Judged(0, 0)) == question, "one that missed it is told again"


def test_the_answer_closes_the_round_with_the_best() -> None:
    shard, table, desk = gathered()
    question = desk.hear(ORACLE, Judged(0, 0))
    assert question is not None
    assert desk.hear(ORACLE, Judged(question.number, question.term, [1.0, 0.5, 2.0])) is None
    assert table.next() is not None and table.question is None
    assert shard.state.version == 2
    assert np.allclose(shard.state.weights, 1 - 0.1 * 1.0), "worker 0 lowered the loss, worker 1 did not"


def test_answers_to_other_questions_and_of_the_wrong_length_count_for_nothing() -> None:
    shard, table, desk = gathered()
    question = table.question
    assert question is not None
    desk.hear(ORACLE, Judged(question.number + 1, question.term, [1.0, 1.0, 1.0]))
    desk.hear(ORACLE, Judged(question.number, question.term + 1, [1.0, 1.0, 1.0]))
    desk.hear(ORACLE, Judged(question.number, question.term, [1.0, 1.0]))
    assert table.next() is None and shard.state.version == 0


def closes(table: RoundTable, desk: Inquiry, beat: float | None, now: float) -> bool:
    desk.look(beat, now)
    return table.next() is not None


def test_an_oracle_that_never_comes_is_waited_for_once() -> None:
    _, table, desk = gathered()
    assert not closes(table, desk, None, 0.0)
    assert not closes(table, desk, None, FIRST_SECONDS)
    assert closes(table, desk, None, FIRST_SECONDS + 1)
    desk.look(None, FIRST_SECONDS + 2)
    assert table.oracle_away, "the next round does not wait again"


def test_an_oracle_that_is_silent_or_says_goodbye_is_not_waited_for() -> None:
    _, table, desk = gathered()
    desk.hear(ORACLE, Judged(0, 0))
    assert not closes(table, desk, 0.0, EVALUATOR_TIMEOUT_SECONDS)
    assert closes(table, desk, 0.0, EVALUATOR_TIMEOUT_SECONDS + 1)
    _, table, desk = gathered()
    desk.hear(ORACLE, Judged(0, 0))
    assert closes(table, desk, None, 1.0)


def test_an_oracle_that_lives_and_does_not_answer_is_given_up_until_it_speaks() -> None:
    _, table, desk = gathered()
    desk.hear(ORACLE, Judged(0, 0))
    desk.look(0.0, 0.0)
    assert not closes(table, desk, ANSWER_SECONDS, ANSWER_SECONDS)
    desk.look(ANSWER_SECONDS + 1, ANSWER_SECONDS + 1)
    assert table.oracle_away
    desk.hear(ORACLE, Judged(0, 0))
    desk.look(ANSWER_SECONDS + 1, ANSWER_SECONDS + 1)
    assert not desk.gave_up or table.question is not None


def test_a_worker_that_starts_anew_while_its_gradient_is_judged_does_not_break_the_round() -> None:
    shard, table, desk = gathered()
    shard.hello(Hello("check", "worker", 1, 2, 3, "layout"))
    question = table.question
    assert isinstance(question, Question)
    desk.hear(ORACLE, Judged(question.number, question.term, [1.0, 0.5, 0.25]))
    assert table.next() is not None and shard.state.version == 2
    assert np.allclose(shard.state.weights, 1 - 0.1 * 2.0)


def test_the_oracle_sees_contributions_and_zeros_when_they_are_gone() -> None:
    shard, _, _ = gathered()
    assert shard.weights(Pull("evaluator", 0, 1, 0, 1, of=1), -1).tolist() == [2, 2, 2]
    assert shard.weights(Pull("evaluator", 0, 1, 0, 1, of=7), -1).tolist() == [0, 0, 0]
