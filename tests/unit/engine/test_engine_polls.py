"""When shard 0 of which job is asked: the schedule in virtual time, with silent servers beside healthy ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import pairwise

from asgd.spec.status import Status
from asgd_operator.engine.polls import Known, Polls, Target

REPORT = Status(job="x", phase="running", algorithm="asgd")
TIMEOUT = 3.0


def target(key: str, pod: object = "u-1") -> Target:
    return Target(key, f"http://{key}/status", str(pod))


@dataclass
class Pool:
    """Carries the schedule out: who is silent answers nothing for `TIMEOUT` seconds, others answer after 10 ms."""

    polls: Polls
    silent: set[str] = field(default_factory=set)
    now: float = 0.0
    flying: list[tuple[float, str, Target]] = field(default_factory=list)
    asked: list[tuple[float, str]] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)
    most: int = 0

    def want(self, *uids: str, pod: object = "u-1") -> None:
        for uid in uids:
            self.polls.want(uid, target(uid, pod), self.now)

    def run(self, until: float) -> None:
        while self.now <= until:
            for uid, whom in self.polls.begin(self.now):
                self.asked.append((self.now, uid))
                self.flying.append((self.now + (TIMEOUT if uid in self.silent else 0.01), uid, whom))
            self.most = max(self.most, len(self.flying))
            due = self.polls.next_in(self.now)
            moments = [at for at, _, _ in self.flying] + ([self.now + due] if due is not None else [])
            self.now = min([*moments, until + 1])
            for item in [item for item in self.flying if item[0] <= self.now]:
                self.flying.remove(item)
                _, uid, whom = item
                report = None if uid in self.silent else REPORT
                if key := self.polls.answered(uid, whom, report, self.now):
                    self.told.append((round(self.now, 2), key))

    def times(self, uid: str) -> list[float]:
        return [round(at, 2) for at, other in self.asked if other == uid]


def test_a_job_whose_pods_have_changed_is_settled_by_the_next_answer_or_by_its_absence() -> None:
    pool = Pool(Polls())
    pool.want("a")
    pool.run(5)
    assert pool.polls.known("a", 5).settled
    pool.now = 5.0
    pool.want("a", pod="without its workers")
    known = pool.polls.known("a", 5.0)
    assert known.report == REPORT and not known.settled and known.changes_in == 5.0
    pool.run(6)
    assert pool.polls.known("a", 6).settled
    pool.silent.add("a")
    pool.now = 6.0
    pool.want("a", pod="again another")
    assert not pool.polls.known("a", 8).settled
    assert pool.polls.known("a", 11).settled, "it does not answer, and is waited for no longer"


def test_a_job_is_asked_at_once_and_then_every_period_and_each_answer_has_it_looked_at() -> None:
    pool = Pool(Polls())
    pool.want("a")
    pool.run(31)
    assert pool.times("a") == [0, 10.01, 20.02, 30.03]
    assert pool.told == [(0.01, "a"), (10.02, "a"), (20.03, "a"), (30.04, "a")]


def test_jobs_that_started_together_part() -> None:
    chances = iter(i / 40 % 1 for i in range(10_000))
    pool = Pool(Polls(width=100, chance=lambda: next(chances)))
    pool.want(*map(str, range(40)))
    pool.run(12)
    second = [pool.times(str(i))[1] for i in range(40)]
    assert max(second) - min(second) > 1.5


def test_a_silent_job_is_asked_less_and_less_often_but_never_forgotten() -> None:
    pool = Pool(Polls(), silent={"a"})
    pool.want("a")
    pool.run(400)
    gaps = [round(b - a) for a, b in pairwise(pool.times("a"))]
    assert gaps[:5] == [13, 23, 43, 63, 63]
    assert set(gaps[4:]) == {63}


def test_only_the_first_missing_answer_is_worth_a_look() -> None:
    pool = Pool(Polls(), silent={"a"})
    pool.want("a")
    pool.run(200)
    assert pool.told == [(3.0, "a")]


def test_a_pod_that_changed_is_asked_at_once_whatever_was_missing_before() -> None:
    pool = Pool(Polls(), silent={"a"})
    pool.want("a")
    pool.run(300)
    pool.silent.clear()
    changed = pool.now
    pool.want("a", pod="ready")
    pool.run(changed + 1)
    assert pool.times("a")[-1] == round(changed, 2)
    assert pool.told[-1] == (round(changed + 0.01, 2), "a")


def test_what_a_pod_said_before_it_changed_does_not_count() -> None:
    polls = Polls()
    polls.want("a", target("a"), 0)
    ((uid, whom),) = polls.begin(0)
    polls.want("a", target("a", "u-2"), 1)
    assert polls.answered(uid, whom, REPORT, 2) is None
    assert polls.known("a", 6).report is None
    assert [uid for uid, _ in polls.begin(2)] == ["a"]


def test_the_pool_is_bounded_and_serves_who_waited_longest() -> None:
    pool = Pool(Polls(width=4), silent=set())
    pool.want(*map(str, range(50)))
    pool.run(20)
    assert pool.most == 4
    assert [uid for _, uid in pool.asked[:50]] == list(map(str, range(50)))


def test_silent_jobs_hold_half_of_the_pool_and_the_others_stay_up_to_date() -> None:
    silent = {f"silent-{i}" for i in range(300)}
    pool = Pool(Polls(width=16, per_second=100), silent)
    pool.want(*sorted(silent), *(f"good-{i}" for i in range(50)))
    pool.run(900)
    for i in range(50):
        late = [b - a for a, b in pairwise(pool.times(f"good-{i}")) if a > 200]
        assert max(late) < 12, "as if the silent ones were not there"


def test_the_first_answer_is_awaited_for_a_moment_only() -> None:
    polls = Polls(first=5)
    polls.want("a", target("a"), 100)
    assert polls.known("a", 101) == Known(None, awaited=True, changes_in=4, settled=False)
    assert polls.known("a", 105) == Known(None, awaited=False, changes_in=None)


def test_the_last_answer_stands_until_it_is_stale() -> None:
    polls = Polls(stale=60)
    polls.want("a", target("a"), 0)
    ((uid, whom),) = polls.begin(0)
    polls.answered(uid, whom, REPORT, 1)
    assert polls.known("a", 31) == Known(REPORT, awaited=False, changes_in=30, age=30)
    assert polls.known("a", 61).report is None


def test_a_job_that_is_forgotten_is_asked_no_more() -> None:
    pool = Pool(Polls())
    pool.want("a")
    pool.run(5)
    pool.polls.forget("a")
    pool.run(100)
    assert pool.times("a") == [0]
    assert pool.polls.known("a", 100) == Known(None, awaited=False, changes_in=None)


MANY = 400
"""So many that their period is longer than usual: 50 s."""


def among_many(until: float) -> Pool:
    pool = Pool(Polls(width=16, per_second=8))
    pool.want(*map(str, range(MANY)))
    pool.run(until)
    return pool


def test_many_jobs_are_asked_no_more_often_than_the_looks_allow_and_all_of_them() -> None:
    pool = among_many(400)
    moments = sorted(at for at, _ in pool.asked)
    windows = [sum(start <= at < start + 60 for at in moments) for start in range(0, 340, 10)]
    assert max(windows) <= 60 * 8 * 1.25 + 2 * 16, "also right after the operator's start"
    assert all(len(pool.times(str(i))) >= 400 / 60 for i in range(MANY))


def test_a_job_that_is_new_among_many_is_asked_before_them() -> None:
    pool = among_many(100)
    begun = pool.now
    pool.want("new")
    pool.run(begun + 10)
    assert pool.times("new")[0] <= begun + 1 / 8


def test_answers_stand_for_three_periods_where_many_jobs_make_the_period_long() -> None:
    pool = among_many(60)
    stands = 0.0
    while all(pool.polls.known(str(i), pool.now).report for i in range(MANY)):
        stands, pool.now = pool.now, pool.now + 10
    assert stands >= 60 + 50, "nobody is taken for silent though he was not asked for long"


def test_a_start_among_many_jobs_waits_for_all_first_answers() -> None:
    pool = among_many(0)
    for second in range(0, 61, 5):
        pool.run(second)
        known = [pool.polls.known(str(i), second) for i in range(MANY)]
        assert all(one.awaited or one.report for one in known), "or those that run would be taken for silent"
