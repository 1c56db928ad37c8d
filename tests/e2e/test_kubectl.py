"""A user's whole day with `kubectl asgd`, as a plugin of kubectl: submit, follow, top, scale, stop, download."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from safetensors import safe_open

from tests.cluster.binaries import find
from tests.e2e.jobs import Job, until
from tests.e2e.release import Release

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(300)
PARAMETERS = 4810
SOON_SECONDS = 45.0
_TASK = """\
import time

from asgd.examples import digits
from pace import SECONDS

def task():
    found = digits.task(model="mlp")
    loss = found.loss

    def paced(model, batch):
        time.sleep(SECONDS)
        return loss(model, batch)

    found.loss = paced
    return found
"""
_IN_PODS = """\
import pathlib
import time

from asgd.examples import digits

def task():
    found = digits.task(model="mlp")
    loss = found.loss

    def paced(model, batch):
        if pathlib.Path("/etc/asgd").exists():
            time.sleep(0.1)
        return loss(model, batch)

    found.loss = paced
    return found
"""
"""Slow in pods alone."""
_OWN_DATA = """\
import os

import torch

import asgd

model = torch.nn.Linear(3, 1)
optimizer = asgd.connect(model)
print("readers:", os.environ["ASGD_WORKERS"], flush=True)
while not optimizer.stopped:
    optimizer.zero_grad()
    model(torch.ones(8, 3)).square().mean().backward()
    optimizer.step()
"""
"""Nobody deals its data out, so it can't be told to stop after epochs."""
_SMALL = (
    "--set=workers.resources={requests: {cpu: 50m, memory: 384Mi}}",
    "--set=parameterServer.resources={requests: {cpu: 50m, memory: 160Mi}}",
)


@dataclass(frozen=True)
class Plugin:
    """kubectl with the plugin on its path, in a folder and a namespace."""

    folder: Path
    environment: dict[str, str]
    namespace: str

    def __call__(self, *words: str) -> str:
        done = subprocess.run(self._command("asgd", *words), **self._options(), capture_output=True)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}{done.stderr}"
        return str(done.stdout)

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            self._command("asgd", *words), **self._options(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    def tab(self, *words: str) -> list[str]:
        """What kubectl offers on Tab."""
        done = subprocess.run(
            [find("kubectl"), "__complete", "asgd", *words], **self._options(), capture_output=True
        )
        return [line.partition("\t")[0] for line in str(done.stdout).splitlines()]

    def _command(self, *words: str) -> list[str]:
        return [str(find("kubectl")), *words, "-n", self.namespace]

    def _options(self) -> dict[str, object]:
        return {"cwd": self.folder, "env": self.environment, "text": True}


@pytest.fixture
def plugin(release: Release, tmp_path: Path) -> Iterator[Plugin]:
    binaries = tmp_path / "bin"
    binaries.mkdir()
    for name, module in (("kubectl-asgd", "cli"), ("kubectl_complete-asgd", "completion")):
        (binaries / name).write_text(f'#!/bin/sh\nexec "{sys.executable}" -m asgd.client.{module} "$@"\n')
        (binaries / name).chmod(0o755)
    path = f"{binaries}{os.pathsep}{os.environ['PATH']}"
    environment = {**os.environ, "PATH": path, "KUBECONFIG": str(release.kubectl.kubeconfig)}
    yield Plugin(tmp_path, environment, "plugin")


def test_a_script_is_submitted_followed_scaled_stopped_and_its_model_comes_here(
    release: Release, plugin: Plugin
) -> None:
    job: Job = release.job("train", "plugin")
    job.claim()
    (plugin.folder / "train.py").write_text(_TASK)
    (plugin.folder / "pace.py").write_text("SECONDS = 0.1\n")
    words = ("train.py", "--workers", "1", "--epochs", "1000", "--checkpoints", "models")
    follow = plugin.start("submit", *words, "--set", "checkpoint.everySeconds=3", *_SMALL, "--follow")
    try:
        until(lambda: trained(job), "it trains")
        assert plugin("scale", "train", "2").startswith("asgdjob.asgd.dev/train scaled from 1 to 2 workers")
        until(lambda: job.status["workers"]["ready"] == 2, "both workers take part")
        told = json.loads(plugin("top", "train", "-o", "json"))
        assert [worker["index"] for worker in told["workers"] if worker["state"] == "running"] == [0, 1]
        assert "worker 1 | " in plugin("logs", "train", "--role", "worker", "--tail", "3")
        assert "plugin/train  Running" in plugin("status", "train")
        assert plugin("model", "train", "--to", "early.safetensors").startswith(
            "from /checkpoints in train-server-0"
        )
        assert plugin.tab("status", "-n", "plugin", "tr")[0] == "train"

        began = time.monotonic()
        assert "train is Complete (TargetReached)" in plugin("stop", "train", "--wait")
        # NB: a kubelet's own round brings the live fields within 60 to 90 s.
        assert time.monotonic() - began < SOON_SECONDS
        said, _ = follow.communicate(timeout=60)
        assert follow.returncode == 0, said
        assert "train trains" in said and "\nreached    accuracy " in said
        assert "on claim models, through a pod" in plugin("model", "train", "--which", "final")
        assert updates(plugin.folder / "early.safetensors") < updates(plugin.folder / "train.safetensors")
        assert updates(plugin.folder / "train.safetensors") == job.status["training"]["updates"]
    finally:
        follow.kill()
        follow.wait()
        job.delete()


def test_a_recorded_job_whose_pods_were_killed_comes_to_the_same_bits_here(
    release: Release, plugin: Plugin
) -> None:
    job: Job = release.job("recorded", "plugin")
    job.claim("logs")
    (plugin.folder / "recorded.py").write_text(_IN_PODS)
    words = ("recorded.py", "--workers", "2", "--shards", "2", "--epochs", "1000")
    claims = ("--checkpoints", "logs", "--record", "logs", "--set", "checkpoint.everySeconds=2")
    plugin("submit", *words, *claims, *_SMALL)
    try:
        until(lambda: job.updates() > 30, "it trains")
        for role, number in (("worker", 1), ("server", 1)):
            before = job.updates()
            (victim,) = (
                pod for pod in job.pods(role) if pod["metadata"]["name"].find(f"-{role}-{number}") > 0
            )
            job.run("delete", "pod", victim["metadata"]["name"], "--force", "--grace-period=0")
            job.trains_with(2)
            until(lambda before=before: job.updates() > before + 30, f"it goes on after {role} {number}")  # type: ignore[misc]
        # NB: the stop rule is a live field: what pods have read says nothing of it.
        assert "recorded is Complete (TargetReached)" in plugin("stop", "recorded", "--wait")
        told = json.loads(plugin("replay", "recorded", "--json"))
        assert told["equal"] is True and told["updates"] == job.status["training"]["updates"]
        logs = {
            path.name.rpartition("-")[0]
            for path in (plugin.folder / "recorded-recording/replay").glob("*.log")
        }
        assert logs == {"shard-0", "shard-1", "worker-0", "worker-1"}
        assert len(list((plugin.folder / "recorded-recording/replay").glob("worker-1-*.log"))) == 2
        assert (plugin.folder / "recorded-recording/replay/shard-1-2.log").exists()
    finally:
        job.delete()


def test_a_script_with_data_of_its_own_ends_by_its_stop_rule_and_knows_how_many_read_with_it(
    release: Release, plugin: Plugin
) -> None:
    job: Job = release.job("own", "plugin")
    (plugin.folder / "own.py").write_text(_OWN_DATA)
    plugin("submit", "own.py", "--workers", "2", "--set", "stopAfter={updates: 300}", *_SMALL)
    try:
        assert "own is Complete (TargetReached)" in plugin("wait", "own", "--timeout", "2m")
        assert 300 <= job.status["training"]["updates"] < 310
        assert plugin("logs", "own", "--role", "worker").count("readers: 2") == 2
    finally:
        job.delete()


def trained(job: Job) -> int:
    """Updates; 0 also before the job is there."""
    words = ("get", "asgdjob", job.name, "--ignore-not-found", "-o", "jsonpath={.status.training.updates}")
    return int(job.run(*words) or 0)


def updates(path: Path) -> int:
    """Of the weights in a model file, which must be whole."""
    with safe_open(path, "np") as file:
        assert sum(file.get_tensor(name).size for name in file.keys()) == PARAMETERS  # noqa: SIM118
        return int(file.metadata()["updates"])
