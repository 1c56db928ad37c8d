"""Live fields reach real servers by their file; one that is damaged is told and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from asgd.server.core import ServerCore
from tests.checks.processes import Processes
from tests.checks.virtual import job

pytestmark = pytest.mark.timeout(200)

SPEC = {
    "entrypoint": "nobody:asks",
    "stopAfter": {"epochs": 3, "updates": 1000},
    "parameterServer": {"shards": 1},
}


def test_a_server_takes_the_live_fields_of_its_file_and_survives_a_damaged_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = tmp_path / "live.json"
    monkeypatch.setenv("ASGD_LIVE", str(live))
    live.write_text('{"stopAfter": {"updates": 7}}', encoding="utf-8")
    with Processes(tmp_path / "job", SPEC) as running:
        status = running.until(lambda status: status.stop_after.updates == 7)
        assert status.stop_after.epochs is None
        live.write_bytes(b'{"stopAfter": {"updates": "\xff"}}')
        told = f"{live} is damaged and changes nothing: live fields: "
        running.until(lambda status: told in running.logs())
        live.write_text('{"stopAfter": {"updates": 8}, "batchSize": 1}', encoding="utf-8")
        running.until(lambda status: status.stop_after.updates == 8)


def test_each_shard_takes_the_live_fields_and_a_strategy_of_majorities_the_number_of_workers() -> None:
    wanted = {"algorithm": {"name": "safeguard"}, "parameterServer": {"shards": 2}}
    for index in range(2):
        core = ServerCore(job(workers={"replicas": 4}, **wanted), index, 1)
        changed = job(workers={"replicas": 9}, checkpoint={"keep": 7}, **wanted)
        core.change(changed.spec)
        assert core.shard.strategy.spec.workers.replicas == 9
        assert core.job.spec.checkpoint.keep == 7
