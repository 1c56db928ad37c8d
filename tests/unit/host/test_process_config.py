"""The environment of a process: what is missing or wrong is said in one sentence that names the variable."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from asgd.errors import UserError
from asgd.host.env import read_config
from asgd.spec.environment import Env


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    job = {
        "apiVersion": "asgd.dev/v1alpha1",
        "kind": "AsgdJob",
        "metadata": {"name": "digits"},
        "spec": {"entrypoint": "tasks:digits"},
    }
    (tmp_path / "job.json").write_text(json.dumps(job), encoding="utf-8")
    return {
        "ASGD_JOB": str(tmp_path / "job.json"),
        "ASGD_INDEX": "3",
        "ASGD_SERVERS": "ipc:///tmp/server-0",
    }


def test_a_process_reads_its_part(environment: dict[str, str]) -> None:
    config = read_config(environment | {"ASGD_NODE": "a", "ASGD_RECORD": "/logs"})
    assert (config.index, config.node, config.record) == (3, "a", Path("/logs"))
    assert config.servers == ("ipc:///tmp/server-0",) and config.join_timeout_seconds == 300.0
    assert config.live is None and config.memory is None and config.keys is None


def test_a_process_begins_with_the_live_fields_as_they_are_now(
    environment: dict[str, str], tmp_path: Path
) -> None:
    live = tmp_path / "live.json"
    live.write_text('{"stopAfter": {"updates": 50}, "workers": {"replicas": 9, "autoscale": null}}')
    job = read_config(environment | {"ASGD_LIVE": str(live)}).job
    assert (job.spec.stop_after.updates, job.spec.stop_after.epochs) == (50, None)
    assert job.spec.workers.replicas == job.document["spec"]["workers"]["replicas"] == 9
    assert "autoscale" not in job.document["spec"]["workers"]


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("ASGD_INDEX", "", "not set"),
        ("ASGD_INDEX", "-1", "'-1' is not a whole number from 0"),
        ("ASGD_JOB", "/no/such/job.json", "cannot be read"),
        ("ASGD_LIVE", "/no/such/live.json", "cannot be read"),
        ("ASGD_SERVERS", "ipc://a,ipc://b", "2 endpoints, but the job has 1 shards"),
        ("ASGD_SERVERS", "tcp://10.0.0.1:7077", "needs the job's keys"),
        ("ASGD_JOIN_TIMEOUT", "soon", "'soon' is not a number of seconds from 0"),
        ("ASGD_JOIN_TIMEOUT", "nan", "'nan' is not a number of seconds from 0"),
        ("ASGD_JOIN_TIMEOUT", "-1", "'-1' is not a number of seconds from 0"),
    ],
)
def test_what_is_missing_or_wrong_is_named(
    environment: dict[str, str], name: str, value: str, said: str
) -> None:
    with pytest.raises(UserError) as problem:
        read_config(environment | {name: value})
    assert said in str(problem.value) and "ASGD_" in str(problem.value)


def test_a_variable_serves_as_a_key_of_any_environment() -> None:
    assert {Env.JOB: "a"} == {"ASGD_JOB": "a"} and f"{Env.JOB}" == "ASGD_JOB"
    assert all(name.startswith("ASGD_") and name.meaning for name in Env)
