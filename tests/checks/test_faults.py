"""Seeds of faults in virtual time (`asgd simulate --faults`): all that must hold does, and what breaks is caught.

A protection is switched off by a subclass that the test puts in its place; the product has no such switch.
"""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import pytest
from tools.faults import CASES, Case, sweep

from asgd import exitcodes
from asgd.cli import main
from asgd.drivers.virtual.faults.plan import make_plan
from asgd.drivers.virtual.faults.rehearsal import Finding, rehearse
from asgd.server import coordinator, core, primary
from asgd.server.coordinator import Coordinator
from asgd.server.pool import Pool
from asgd.server.saves.in_process import MemoryStore
from asgd.server.shard import Shard

WITHIN = 200
"""A protection that is off must be noticed within so many seeds."""


def _told(found: list[tuple[Case, Finding]]) -> list[str]:
    return [
        f"{case.file} {' '.join(case.sets)} --faults {one.seed}: {one.broken}"
        for case, one in found
        if one.broken
    ]


def test_everything_holds_under_sixty_seeds_of_faults() -> None:
    found = [(CASES[seed % len(CASES)], rehearse(CASES[seed % len(CASES)].job(), seed)) for seed in range(60)]
    assert not _told(found)
    assert sum(one.lost for _, one in found) and sum(one.revisited for _, one in found)
    assert {one.own_loops for _, one in found} == {True, False}


@pytest.mark.slow
def test_everything_holds_under_a_thousand_seeds_of_faults() -> None:
    assert not _told(sweep(1000))


def test_a_seed_fails_again_to_the_same_bits() -> None:
    job = Case("sync", 3).job()
    assert make_plan(7, 4, 3) == make_plan(7, 4, 3)
    assert rehearse(job, 7) == rehearse(job, 7)


@pytest.mark.slow
def test_a_seed_comes_out_alike_in_another_process() -> None:
    told = "from tools.faults import Case; from asgd.drivers.virtual.faults.rehearsal import rehearse;"
    told += "print([rehearse(Case('safeguard', 3).job(), seed) for seed in (9, 21)])"
    there = subprocess.run(
        [sys.executable, "-c", told], capture_output=True, text=True, check=True,
        env=os.environ | {"PYTHONHASHSEED": "1"},
    )  # fmt: skip
    assert there.stdout.strip() == str([rehearse(Case("safeguard", 3).job(), seed) for seed in (9, 21)])


def test_the_command_says_what_came_of_a_seed(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "examples/digits.yaml", "--faults", "4"]) == exitcodes.DONE
    assert "faults 4: all holds" in capsys.readouterr().out


def test_a_seed_that_breaks_something_names_it_and_the_command_that_shows_it_again(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(core, "Shard", _Forgetful)
    seed = _first_caught("asgd", "no push is applied twice")
    told = [
        "simulate",
        "examples/digits.yaml",
        "--set",
        "workers.replicas=4",
        "--set",
        "parameterServer.shards=1",
    ]
    assert main([*told, "--faults", str(seed)]) == exitcodes.BROKEN
    line = capsys.readouterr().out
    assert "no push is applied twice" in line and line.count("\n") == 1
    assert line.rstrip().endswith(" ".join(["asgd", *told, "--faults", str(seed)]))


def test_a_seed_below_zero_is_refused_in_one_sentence(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["simulate", "examples/digits.yaml", "--faults", "-1"]) == exitcodes.USER_ERROR
    assert "--faults: -1 is no seed; allowed: whole numbers from 0" in capsys.readouterr().err


def test_a_hello_that_comes_twice_and_late_keeps_no_job_of_own_loops_from_its_end() -> None:
    found = rehearse(Case("asgd", 1).job(), 41)
    assert (found.own_loops, found.broken) == (True, "")


# -- what is off is caught ---------------------------------------------------------------------------


def _first_caught(strategy: str, invariant: str) -> int:
    """The first seed that names `invariant`; fails where none of the first ones does."""
    job = Case(strategy, 1).job()
    found = (seed for seed in range(WITHIN) if rehearse(job, seed).broken.startswith(invariant))
    seed = next(found, None)
    assert seed is not None, f"{WITHIN} seeds did not notice"
    return seed


class _Forgetful(Shard):
    """Exactly-once is off: a push that comes again is taken for a new one."""

    def exchange(self, message: Any, payload: Any) -> Any:
        seen = self.seen.get(message.index)
        if seen and message.sequence <= seen.sequence:
            seen.sequence = message.sequence - 1
        return super().exchange(message, payload)


@pytest.mark.parametrize("strategy", ["asgd", "easgd", "sync", "lsgd", "safeguard", "diloco"])
def test_a_push_that_is_applied_twice_is_caught(strategy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(core, "Shard", _Forgetful)
    _first_caught(strategy, "no push is applied twice")


def test_a_replaced_server_that_writes_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(MemoryStore, "check_term", lambda self, shard, term: None)
    _first_caught("asgd", "who was replaced writes nothing")


def test_leases_that_a_dead_worker_keeps_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Keeping(Pool):
        def release(self, worker: int) -> None:
            """The lease of a worker that is gone stays out."""

    monkeypatch.setattr(coordinator, "Pool", Keeping)
    _first_caught("asgd", "every waiting state ends")


def test_ends_of_own_loops_that_a_restart_forgets_are_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    class Forgetting(Coordinator):
        def state(self, now: float) -> dict[str, Any]:
            return super().state(now) | {"finishedLoops": []}

    monkeypatch.setattr(primary, "Coordinator", Forgetting)
    _first_caught("asgd", "every waiting state ends")
