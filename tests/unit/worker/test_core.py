"""A worker's core, driven by hand: what it wishes for and in which order, without threads, sockets or time."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import msgspec
import numpy as np
import pytest

from asgd.algorithms.registry import strategy
from asgd.errors import TryAgain
from asgd.kernel import F32
from asgd.spec.types import JobSpec
from asgd.worker import wishes
from asgd.worker.core import WorkerCore
from asgd.worker.reading.leased import WAIT, LeasedBatch
from asgd.worker.sending.headers import Outcome

SIZE = 4


class Arrays:
    """Vectors of numpy; the gradient is all ones."""

    size = SIZE

    def __init__(self) -> None:
        self.weights, self.gradient = np.zeros(SIZE, np.float32), np.ones(SIZE, np.float32)
        self.pulled = np.zeros(SIZE, np.float32)

    def gather(self) -> F32:
        return self.gradient

    def norm(self, vector: F32) -> float:
        return float(np.linalg.norm(vector))

    def finite(self, vector: F32) -> bool:
        return bool(np.isfinite(vector).all())

    def leaving(self, vector: F32) -> F32:
        return vector.copy()

    def landed(self) -> F32:
        return self.pulled


class Driver:
    """Grants wishes from `batches`; servers apply each push at once, so that their version is the count of pushes."""

    def __init__(
        self, batches: Iterable[Any] = (), leaving: Callable[[], bool] = lambda: False, **spec: Any
    ) -> None:
        self.spec = msgspec.convert({"entrypoint": "nobody:asks", **spec}, JobSpec)
        rule = strategy(str(self.spec.algorithm["name"])).worker(self.spec)
        self.core = WorkerCore(self.spec, rule, Arrays(), 1, dataset=100, leaving=leaving)
        self.batches = iter(batches)
        self.wished: list[wishes.Wish] = []
        self.version = 0
        self.stop_after = 1000
        self.verdict, self.losses = "applied", [0.5]
        self.notes: dict[str, float] = {}
        self.away = False

    @property
    def pushes(self) -> list[wishes.Exchange]:
        return [wish for wish in self.wished if isinstance(wish, wishes.Exchange) and wish.meta.sequence]

    @property
    def kinds(self) -> list[str]:
        return [type(wish).__name__ for wish in self.wished]

    def drive(self, life: wishes.Life[Any]) -> Any:
        answer: Any = None
        try:
            while True:
                wish = life.send(answer)
                self.wished.append(wish)
                try:
                    answer = self._grant(wish)
                except TryAgain as error:
                    self.wished.append(life.throw(error))
                    answer = None
        except StopIteration as end:
            return end.value

    def _grant(self, wish: wishes.Wish) -> Any:
        match wish:
            case wishes.Join():
                return ""
            case wishes.Exchange():
                self.version += wish.meta.sequence > 0
            case wishes.Await():
                if self.away:
                    raise TryAgain("nobody is there")
                stop = "updates" if self.version >= self.stop_after else ""
                return Outcome(
                    stop=stop,
                    verdicts=(self.verdict,),
                    samples=0,
                    workers=1,
                    notes=self.notes,
                    versions=(self.version,),
                )
            case wishes.Next():
                return next(self.batches, None)
            case wishes.Compute():
                return wishes.Computed(self.losses.pop(0) if len(self.losses) > 1 else self.losses[0])
        return None


def batches(count: int) -> list[LeasedBatch]:
    return [LeasedBatch(None, 8, ((0, 8 * i, 8 * i + 8),)) for i in range(count)]


def test_a_push_names_the_versions_its_gradient_was_computed_from() -> None:
    for ahead, bases in ((0, [0, 1, 2]), (1, [0, 0, 1])):
        driver = Driver(batches(3), exchange={"ahead": ahead})
        driver.drive(driver.core.join())
        driver.drive(driver.core.train())
        assert [push.meta.bases for push in driver.pushes] == [(base,) for base in bases]


def test_with_ahead_1_the_next_gradient_is_asked_for_before_the_answer_is_waited_for() -> None:
    def order(ahead: int) -> list[str]:
        driver = Driver(batches(2), exchange={"ahead": ahead})
        driver.drive(driver.core.train())
        return [kind for kind in driver.kinds[3:] if kind != "Next"]

    assert order(0) == ["Compute", "Exchange", "Await"] * 2
    assert order(1) == ["Compute", "Exchange", "Compute", "Await", "Exchange", "Await"]


def test_what_is_computed_goes_out_before_a_worker_without_data_waits() -> None:
    local = {"fetchEvery": 4, "pushEvery": 4}
    driver = Driver([*batches(3), WAIT, WAIT, WAIT], exchange=local)
    driver.drive(driver.core.train())
    (push,) = driver.pushes
    assert push.meta.steps == 3 and push.meta.samples == 24
    assert list(push.meta.visits) == [(0, 0, 8), (0, 8, 16), (0, 16, 24)]
    # It asks again at once after it has pushed something, and then pauses each time.
    at = driver.kinds.index("Exchange", 3)
    assert driver.kinds[at:] == ["Exchange", "Await", "Next", "Sleep", "Next", "Sleep", "Next"]


@pytest.mark.parametrize("ahead", [0, 1])
def test_a_worker_that_is_told_to_leave_pushes_what_it_has_and_computes_no_more(ahead: int) -> None:
    asked: list[int] = []

    def leaving() -> bool:
        asked.append(1)
        return len(asked) > 2

    driver = Driver(batches(10), leaving, exchange={"fetchEvery": 4, "pushEvery": 4, "ahead": ahead})
    assert driver.drive(driver.core.train()) == ""
    assert driver.kinds.count("Compute") == 2 and [push.meta.steps for push in driver.pushes] == [2]


def test_batches_that_are_not_this_workers_any_more_are_left_out() -> None:
    driver = Driver(batches(3))
    driver.core.holds = lambda visits: visits[0][1] != 8
    driver.drive(driver.core.train())
    assert [list(push.meta.visits) for push in driver.pushes] == [[(0, 0, 8)], [(0, 16, 24)]]


def test_a_job_that_is_over_is_not_pushed_to_again() -> None:
    driver = Driver(batches(10), exchange={"fetchEvery": 1, "pushEvery": 1})
    driver.stop_after = 3
    assert driver.drive(driver.core.train()) == "updates"
    assert len(driver.pushes) == 3


def test_a_worker_whose_servers_are_gone_at_the_end_still_says_goodbye() -> None:
    driver = Driver(algorithm={"name": "lsgd"})
    driver.drive(driver.core.join())
    driver.away = True
    driver.drive(driver.core.leave("updates"))
    assert driver.kinds[-3:] == ["Exchange", "Await", "Leave"]


def test_a_worker_that_has_failed_waits_for_nothing() -> None:
    driver = Driver(batches(1), exchange={"ahead": 1})
    driver.drive(driver.core.step(8, 0.5))
    before = len(driver.wished)
    driver.drive(driver.core.leave("failed"))
    assert driver.kinds[before:] == ["Leave"]


def test_a_gradient_that_has_left_already_is_neither_taken_nor_pushed_again() -> None:
    driver = Driver()
    driver.drive(driver.core.join())
    meta = driver.core.early(LeasedBatch(None, 8, ((0, 0, 8),)))
    assert (meta.sequence, meta.bases, meta.by_chunk) == (1, (0,), True)
    driver.drive(driver.core.step(8, 0.5, left=True))
    assert not driver.pushes and driver.core.steps == 1


def test_a_gradient_longer_than_clip_norm_is_shortened_to_it() -> None:
    driver = Driver(optimizer={"clipNorm": 0.5})
    driver.drive(driver.core.step(8, 0.5))
    (push,) = driver.pushes
    assert push.push is not None and float(np.linalg.norm(push.push)) == pytest.approx(0.5)


NAN = float("nan")
LOCAL = {"algorithm": {"name": "local-sgd", "period": 4}, "optimizer": {"momentum": 0.5}}


def test_a_batch_that_is_not_finite_is_told_at_once_and_changes_nothing_here() -> None:
    driver = Driver(batches(4), **LOCAL)
    driver.losses = [0.5, NAN, 0.5]
    driver.drive(driver.core.train())
    told, last = driver.pushes
    assert told.push is None and told.meta.bare and not told.meta.finite and not told.pull
    assert (told.meta.steps, told.meta.samples, list(told.meta.visits)) == (0, 8, [(0, 8, 16)])
    assert last.meta.finite and last.meta.steps == 3
    assert list(last.meta.visits) == [(0, 0, 8), (0, 16, 24), (0, 24, 32)]
    assert driver.core.steps == 3


def test_three_in_a_row_give_back_what_is_pending_and_begin_anew_from_the_centre() -> None:
    driver = Driver(batches(4), **LOCAL)
    driver.losses = [0.5, NAN]
    driver.drive(driver.core.train())
    assert [push.meta.steps for push in driver.pushes] == [0, 1, 2]
    assert list(driver.pushes[-1].meta.visits) == [(0, 0, 8), (0, 24, 32)]
    at = driver.wished.index(driver.pushes[-1])
    assert isinstance(driver.wished[at + 2], wishes.Exchange) and driver.wished[at + 2].pull
    assert not driver.core.vectors.weights.any()


def test_what_the_servers_say_to_a_dropped_batch_is_not_taken_for_word_of_new_weights() -> None:
    driver = Driver(algorithm={"name": "neuroevolution", "period": 4})
    driver.drive(driver.core.join())
    driver.core.rule.notes, driver.notes = {"generation": 1.0}, {"generation": 2.0}
    driver.drive(driver.core.step(8, NAN))
    assert driver.core.rule.notes == {"generation": 1.0}


def test_where_each_batch_brings_the_centre_a_dropped_one_brings_it_too() -> None:
    driver = Driver(batches(3))
    driver.losses = [NAN, 0.5]
    driver.drive(driver.core.train())
    assert [(push.pull, push.meta.finite) for push in driver.pushes] == [
        (True, False),
        (True, True),
        (True, True),
    ]
    assert driver.pushes[1].meta.bases == (1,)


def test_weights_that_became_inf_are_given_up_when_their_push_is_found_not_to_be_finite() -> None:
    driver = Driver(**LOCAL)
    driver.drive(driver.core.join())
    for _ in range(3):
        driver.drive(driver.core.step(8, 0.5))
    driver.core.vectors.weights[1] = np.inf
    driver.drive(driver.core.step(8, 0.5))
    assert not driver.pushes[-1].meta.finite
    assert not driver.core.vectors.weights.any()


def test_after_a_gradient_that_left_early_and_was_not_finite_none_leaves_early() -> None:
    driver = Driver()
    driver.drive(driver.core.join())
    for verdict, early in (("applied", True), ("refused:nonfinite", False)):
        driver.core.early(LeasedBatch(None, 8, ((0, 0, 8),)))
        driver.verdict = verdict
        driver.drive(driver.core.step(8, 0.5, left=True))
        assert driver.core.leaves_early is early
