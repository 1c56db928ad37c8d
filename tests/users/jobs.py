"""Runs jobs as a user does: files in a folder, `asgd run` in it, and what it leaves."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from tests import warm

ROOT = Path(__file__).resolve().parents[2]
ASGD = str(Path(sys.executable).with_name("asgd"))
PATIENCE_SECONDS = 240.0
"""Far above what a run takes: a busy machine is no failure."""
MEET = """
    import os, pathlib, time

    def meet(workers, step=0):
        pathlib.Path(f"at-{os.environ['ASGD_WORKER_INDEX']}").write_text(str(step))
        until = time.monotonic() + 60
        while time.monotonic() < until:
            at = [path.read_text() for path in pathlib.Path().glob("at-*")]
            if len(at) == workers and all(int(each or 0) >= step for each in at):
                return
            time.sleep(0.001)
"""
"""For scripts in which no worker may be at the end before another one begins, or is at the same `step`."""


@dataclass(frozen=True)
class Ran:
    """A run that has ended."""

    code: int
    said: str
    """stdout and stderr."""
    output: Path

    @property
    def summary(self) -> dict[str, Any]:
        assert self.code == 0, self.said
        return dict(json.loads((self.output / "summary.json").read_text()))

    def log(self, name: str) -> str:
        """What a process has printed: `worker-0`."""
        return (self.output / "logs" / f"{name}.log").read_text()


def write(folder: Path, **files: str) -> None:
    """Writes Python files: name=text."""
    for name, text in files.items():
        (folder / f"{name}.py").write_text(dedent(text))


def run(job: Path, cwd: Path, *options: str) -> Ran:
    """`asgd run` of a job's file in the directory `cwd`, into cwd/out."""
    words = ["run", str(job), "--output", "out", *options]
    with tempfile.TemporaryFile() as out:
        process = warm.start(words, out, out, cwd=cwd, env={**os.environ, "OMP_NUM_THREADS": "1"})
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(PATIENCE_SECONDS)
        ended = process.poll() is not None
        for _ in range(0 if ended else 2):  # the second one ends every process at once
            process.send_signal(signal.SIGINT)
            time.sleep(0.5)
        out.seek(0)
        said = out.read().decode(errors="replace")
    if not ended:
        pytest.fail(f"the run did not end: {said}", pytrace=False)
    return Ran(process.wait(), said, cwd / "out")


def write_job(folder: Path, spec: dict[str, Any]) -> Path:
    """Writes job.yaml with small defaults: one worker, 40 updates, batches of 8."""
    small = {"workers": {"replicas": 1}, "stopAfter": {"updates": 40}, "batchSize": 8}
    document = {"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "mine"}}
    job = folder / "job.yaml"
    job.write_text(json.dumps(document | {"spec": small | spec}))
    return job


def run_spec(folder: Path, spec: dict[str, Any], *options: str) -> Ran:
    """`asgd run` of such a job in `folder`."""
    return run(write_job(folder, spec), folder, *options)
