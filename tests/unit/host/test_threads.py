"""How many threads a process computes with: the user's word, else its share of the cores."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from asgd.host import available
from asgd.host.available import available_cores, limited_cores
from asgd.host.threads import share, threads_told
from asgd.worker.device import accelerator
from asgd.worker.device.accelerator import limit_threads
from tests.checks.harness import job_spec


@pytest.mark.parametrize(
    ("workers", "shards", "cores", "threads"),
    [(4, 1, 2, 1), (1, 1, 2, 1), (4, 1, 16, 2), (1, 1, 16, 5), (2, 2, 20, 4), (64, 4, 16, 1)],
)
def test_processes_of_one_machine_share_its_cores(
    workers: int, shards: int, cores: int, threads: int
) -> None:
    spec = job_spec(workers={"replicas": workers}, parameterServer={"shards": shards})
    assert share(spec, cores, evaluator=True) == threads


@pytest.mark.parametrize(
    ("env", "threads"),
    [
        ({}, None),
        ({"OMP_NUM_THREADS": "3"}, 3),
        ({"OMP_NUM_THREADS": "4,2"}, 4),
        ({"OMP_NUM_THREADS": "many"}, None),
        ({"OMP_NUM_THREADS": "0"}, None),
        ({"ASGD_THREADS": "2", "OMP_NUM_THREADS": "1"}, 2),
    ],
)
def test_a_process_takes_what_it_is_told_and_no_nonsense(env: dict[str, str], threads: int | None) -> None:
    assert threads_told(job_spec(), env) == threads
    assert threads_told(job_spec(workers={"threads": 7}), env) == 7


@pytest.mark.parametrize(
    ("files", "cores"),
    [
        ({"cpu.max": "max 100000"}, None),
        ({"cpu.max": "250000 100000"}, 2),
        ({"cpu.max": "50000 100000"}, 1),
        ({"quota": "400000", "period": "100000"}, 4),
        ({"quota": "-1", "period": "100000"}, None),
        ({}, None),
    ],
)
def test_a_containers_limit_of_cores_is_read_of_both_versions_of_cgroups(
    files: dict[str, str], cores: int | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, text in files.items():
        (tmp_path / name).write_text(text + "\n")
    places = [str(tmp_path / name) for name in ("cpu.max", "quota", "period")]
    monkeypatch.setattr(available, "_QUOTAS", ((places[0],), tuple(places[1:])))
    assert limited_cores() == cores
    assert 1 <= available_cores() <= (cores or 10_000)


@pytest.fixture
def fresh(monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """This process as a worker begins."""
    before = torch.get_num_threads()
    monkeypatch.setattr(accelerator, "_threads", before)
    yield monkeypatch
    torch.set_num_threads(before)


def test_a_number_of_threads_that_users_code_sets_stays(fresh: pytest.MonkeyPatch) -> None:
    fresh.setenv("ASGD_THREADS", "2")
    limit_threads(job_spec())
    assert torch.get_num_threads() == 2
    limit_threads(job_spec())
    torch.set_num_threads(3)
    limit_threads(job_spec())
    assert torch.get_num_threads() == 3


def test_without_a_word_a_process_has_its_containers_cores_or_one(fresh: pytest.MonkeyPatch) -> None:
    fresh.delenv("ASGD_THREADS", raising=False)
    fresh.delenv("OMP_NUM_THREADS", raising=False)
    for limit, threads in ((None, 1), (3, 3)):
        fresh.setattr(accelerator, "limited_cores", lambda limit=limit: limit)
        limit_threads(job_spec())
        assert torch.get_num_threads() == threads
