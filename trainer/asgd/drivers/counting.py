"""How many parameters each of a job's parameter groups has, where its task can be built here."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import msgspec

from asgd.errors import UserError
from asgd.host.ranks import without_ranks
from asgd.spec import Job, job_to_json
from asgd.spec.environment import Env
from asgd.spec.groups import counted


def group_lines(job: Job, folder: Path) -> list[str]:
    """A line for each group of `job`, whose file lies in `folder`, or one that says why nothing can be counted.

    Raises UserError where a group is left without a parameter.
    """
    if not job.spec.optimizer.groups:
        return []
    if job.spec.entrypoint.endswith(".py"):
        return ["parameter groups: not counted, for a script's parameters are known when it runs"]
    with tempfile.TemporaryDirectory(prefix="asgd-validate-") as private:
        try:
            layout = _layout(job, folder, Path(private))
        except UserError as error:
            return [f"parameter groups: not counted, for the task can't be built here: {error}"]
    sizes = [(name, math.prod(shape)) for name, shape in layout]
    return [f"parameter group {line}" for line in counted(job.spec.optimizer, sizes)]


def _layout(job: Job, folder: Path, private: Path) -> list[tuple[str, list[int]]]:
    """[(name, shape)] of the task's parameters. Raises UserError."""
    asked, answer = private / "job.json", private / "layout.json"
    asked.write_bytes(job_to_json(job))
    env = {**without_ranks(os.environ), Env.JOB_FOLDER: str(folder), Env.SOURCE: str(private / "source")}
    command, most = (
        [sys.executable, "-m", "asgd.worker.task.layout", str(asked), str(answer)],
        job.spec.run_policy,
    )
    try:
        done = subprocess.run(
            command, env=env, capture_output=True, text=True, errors="replace", check=False,
            timeout=most.startup_deadline_seconds,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise UserError(f"it takes more than {most.startup_deadline_seconds} s") from None
    if done.returncode:
        raise UserError((done.stderr.strip() or f"it ended with {done.returncode}").splitlines()[-1])
    return msgspec.json.decode(answer.read_bytes(), type=list[tuple[str, list[int]]])
