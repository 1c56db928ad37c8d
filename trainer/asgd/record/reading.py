"""Reads a run's recording: the job, the logs of shards by term and of workers by incarnation."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from asgd.errors import UserError
from asgd.record import pods
from asgd.record import run as recording
from asgd.record.format import (
    AnyRecord,
    Bringing,
    Dropped,
    Head,
    Heard,
    Leased,
    Leaving,
    Restored,
    Welcomed,
    read_log,
)
from asgd.spec import load_job, with_files
from asgd.spec.types import Job

Person = tuple[int, int]
"""A worker: index and incarnation."""


@dataclass(slots=True)
class WorkerTape:
    """A worker's log as the two queues that its threads wrote."""

    person: Person
    leases: deque[Leased] = field(default_factory=deque)
    dropped: set[int] = field(default_factory=set)
    leaves_at: int | None = None
    """The call at which it was first told to leave."""
    state: Path | None = None
    """What its own optimizer began with, where it did not begin anew."""
    exchanges: deque[Bringing | Welcomed | Heard] = field(default_factory=deque)


@dataclass(slots=True)
class Recording:
    """A run as it was recorded. `shards[i]` holds shard i's starts in order: its term and what followed."""

    job: Job
    run: recording.RunRecord
    shards: list[list[tuple[int, list[AnyRecord]]]]
    workers: dict[Person, WorkerTape]

    def saves_needed(self) -> set[int]:
        """Saves that a shard was restored from, and the one that holds the final weights."""
        needed = {self.run.save}
        for starts in self.shards:
            for _, records in starts:
                needed |= {record.save for record in records if isinstance(record, Restored)}
        return needed

    def taken(self) -> Iterator[tuple[Person, int, tuple[int, int, int]]]:
        """(worker, shard, (term, chunk, stamp)) of each answer that a worker took."""
        for person, tape in self.workers.items():
            for record in tape.exchanges:
                if isinstance(record, Heard):
                    for shard, (_, taken) in enumerate(record.shards):
                        for answer in answers_of(taken):
                            yield person, shard, answer


def answers_of(numbers: list[int]) -> Iterator[tuple[int, int, int]]:
    """(term, chunk, stamp) of the answers in a `Heard`."""
    return zip(numbers[::3], numbers[1::3], numbers[2::3], strict=True)


def load(folder: Path) -> Recording:
    """The recording of the run in `folder`. Raises UserError when there is none, or it can't be replayed."""
    place = folder / "replay"
    run = recording.read(place)
    if run.not_replayable:
        raise UserError(f"{folder} cannot be replayed: {run.not_replayable}")
    recording.check(place, run)
    job = _job(folder)
    shards, workers = read_logs(place, run.files, job.spec.parameter_server.shards)
    return Recording(job, run, shards, workers)


def _job(folder: Path) -> Job:
    """As its processes had it: `asgd run` leaves it as YAML, pods as the JSON that they read."""
    yaml = folder / "job.yaml"
    if yaml.exists():
        return with_files(load_job(yaml), yaml)
    return pods.read_job(folder / "replay")


def read_logs(
    place: Path, names: Iterable[str], shards: int
) -> tuple[list[list[tuple[int, list[AnyRecord]]]], dict[Person, WorkerTape]]:
    """The logs `names` in `place` of a run of `shards` shards: those of shards and of workers, as in `Recording`."""
    starts: list[dict[int, list[AnyRecord]]] = [{} for _ in range(shards)]
    workers: dict[Person, WorkerTape] = {}
    for name in names:
        head, *records = read_log(place / name)
        assert isinstance(head, Head)  # read_log has refused all else
        if head.role == "worker":
            person = head.index, head.number
            workers[person] = tape = _tape(person, records)
            kept = (place / name).with_suffix(".pt")
            tape.state = kept if kept.exists() else None
        elif head.index < len(starts):
            starts[head.index][head.number] = records
        else:
            raise UserError(f"{place / name} is of shard {head.index}; the job has {shards}")
    return [sorted(found.items()) for found in starts], workers


def _tape(person: Person, records: list[AnyRecord]) -> WorkerTape:
    tape = WorkerTape(person)
    for record in records:
        match record:
            case Leased():
                tape.leases.append(record)
            case Dropped():
                tape.dropped.add(record.call)
            case Leaving():
                tape.leaves_at = record.call if tape.leaves_at is None else tape.leaves_at
            case Bringing() | Welcomed() | Heard():
                tape.exchanges.append(record)
            case _:
                raise UserError(f"the log of worker {person[0]} holds a shard's record: {record}")
    return tape
