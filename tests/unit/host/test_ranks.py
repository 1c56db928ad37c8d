"""Variables of another launcher in the caller's shell reach nobody who runs users' code, and are told once."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from asgd.drivers.local.starter import Starter
from asgd.host.forking import ForkServer
from asgd.host.ranks import drop_ranks, said_of_ranks

TORCHRUN = {
    "RANK": "0", "WORLD_SIZE": "2", "LOCAL_RANK": "0", "MASTER_ADDR": "node", "TORCHELASTIC_RUN_ID": "7",
}  # fmt: skip


@pytest.fixture(autouse=True)
def _in_a_shell_of_torchrun(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in TORCHRUN.items():
        monkeypatch.setenv(name, value)


def test_what_a_run_starts_gets_nothing_of_torchruns_nor_do_fork_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given: list[dict[str, str]] = []
    monkeypatch.setattr(ForkServer, "start", lambda modules, env, log: given.append(dict(env)))
    starter = Starter(tmp_path)
    starter._import(())
    for env in (starter._environment, *given):
        assert not TORCHRUN.keys() & env.keys()
        assert env["PATH"] == os.environ["PATH"]


def test_the_person_is_told_in_one_line_which_of_them_are_kept_from_users_code() -> None:
    (line,) = said_of_ranks({"RANK": "1", "WORLD_SIZE": "2", "RANKING": "mine"})
    assert line.startswith("RANK, WORLD_SIZE of this shell are kept from the users' code")
    assert "ASGD_WORKER_INDEX and ASGD_WORKERS" in line
    assert said_of_ranks({"RANKING": "mine"}) == []


def test_a_command_that_runs_users_code_itself_takes_them_out_of_its_own_environment() -> None:
    assert "TORCHELASTIC_RUN_ID" in drop_ranks()[0]
    assert not TORCHRUN.keys() & os.environ.keys()
    assert drop_ranks() == []
