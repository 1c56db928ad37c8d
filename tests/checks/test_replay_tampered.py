"""A recording whose logs cannot be of one run is refused by its replay, in one sentence, instead of being believed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from copy import deepcopy

import pytest
from msgspec.structs import replace

from asgd.drivers.replay.stage import Stage
from asgd.errors import UserError
from asgd.record.format import AnyRecord, Heard, Left, Pushed, Told
from asgd.record.reading import Recording
from tests.checks.recorded import run
from tests.checks.test_a1_processes import one_thread
from tests.checks.virtual import job


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Recording:
    one = job(workers={"replicas": 1}, stopAfter={"updates": 8}, evaluation={"everySeconds": 0})
    with one_thread():
        return run(one, tmp_path_factory.mktemp("run"))[1]


def replayed(recording: Recording, change: Callable[[list[AnyRecord]], None]) -> None:
    changed = deepcopy(recording)
    change(changed.shards[0][0][1])
    with one_thread():
        Stage(changed).run()


def first(records: list[AnyRecord], kind: type[AnyRecord]) -> int:
    return next(at for at, record in enumerate(records) if isinstance(record, kind))


def a_push_that_nobody_sent(records: list[AnyRecord]) -> None:
    at = first(records, Pushed)
    records[at] = replace(records[at], sequence=1_000)


def a_worker_left_that_was_never_there(records: list[AnyRecord]) -> None:
    records.insert(first(records, Pushed), Left(7))


def a_push_without_the_weights_that_it_asked_for(records: list[AnyRecord]) -> None:
    del records[first(records, Pushed) + 1]


def weights_of_a_part_that_the_shard_does_not_have(records: list[AnyRecord]) -> None:
    at = first(records, Told)
    records[at] = replace(records[at], part=3)


def weights_of_another_part_than_the_push_asked_for(records: list[AnyRecord]) -> None:
    at = first(records, Pushed) + 1
    records[at] = replace(records[at], part=3)


def test_untouched_it_is_replayed(recording: Recording) -> None:
    replayed(recording, lambda records: None)


@pytest.mark.parametrize(
    "change",
    [
        a_push_that_nobody_sent,
        a_worker_left_that_was_never_there,
        a_push_without_the_weights_that_it_asked_for,
        weights_of_a_part_that_the_shard_does_not_have,
        weights_of_another_part_than_the_push_asked_for,
    ],
)
def test_what_no_server_can_have_recorded_is_a_contradiction(
    recording: Recording, change: Callable[[list[AnyRecord]], None]
) -> None:
    with pytest.raises(
        UserError, match=r"^the recording contradicts itself at shard 0 of term 1, record \d+"
    ):
        replayed(recording, change)


def test_an_answer_that_was_not_the_one_waited_for_is_a_contradiction(recording: Recording) -> None:
    changed = deepcopy(recording)
    (tape,) = changed.workers.values()
    tape.exchanges = deque(
        Heard([(stop, taken[:-3]) for stop, taken in record.shards]) if isinstance(record, Heard) else record
        for record in tape.exchanges
    )
    with one_thread(), pytest.raises(UserError, match="worker 0 had what it waits for"):
        Stage(changed).run()
