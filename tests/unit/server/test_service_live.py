"""Live fields reach a real server by its file; one that is damaged is told and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.checks.processes import Processes

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
    with Processes(tmp_path / "job", SPEC) as job:
        status = job.until(lambda status: status.stop_after.updates == 7)
        assert status.stop_after.epochs is None
        live.write_bytes(b'{"stopAfter": {"updates": "\xff"}}')
        told = f"{live} is damaged and changes nothing: live fields: "
        job.until(lambda status: told in job.logs())
        live.write_text('{"stopAfter": {"updates": 8}, "batchSize": 1}', encoding="utf-8")
        job.until(lambda status: status.stop_after.updates == 8)
