"""What `asgd validate` says of a job's parameters: of its groups, and of the models that its script connects.

For that a task is built, and a script that connects several models runs until it does so, in a process of its own.
"""

from __future__ import annotations

import ast
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
from asgd.spec.evaluators import is_script
from asgd.spec.groups import counted
from asgd.worker.task.connecting import connected


def parameter_lines(job: Job, folder: Path) -> list[str]:
    """Lines about `job`, whose file lies in `folder`. Raises UserError where a group is left without a parameter."""
    script = [model_line(job, folder)] if is_script(job.spec.entrypoint) else []
    return [*script, *group_lines(job, folder)]


def model_line(job: Job, folder: Path) -> str:
    """`models: generator (Adam, 74 parameters), critic (...)`; of one model, or what can't be read, it says that."""
    read = connected(_tree(job, folder))
    if not read.models:
        return "model and parameters: known when the script runs"
    sizes, why = dict.fromkeys(read.models, 0), ""
    try:
        with tempfile.TemporaryDirectory(prefix="asgd-validate-") as private:
            for name, shape in _layout(job, folder, Path(private)):
                sizes[name.partition(".")[0]] += math.prod(shape)
    except (UserError, KeyError) as error:
        why = f"; not counted, for the script can't be run here up to asgd.connect(): {error}"
    each = []
    for name, optimizer in read.models.items():
        count = [] if why else [f"{sizes[name]:,} parameters"]
        own = [optimizer] if optimizer else []
        each.append(f"{name} ({', '.join([*own, *count])})" if own or count else name)
    by = "" if read.handed else f", all by spec.optimizer ({job.spec.optimizer.name})"
    return f"models: {', '.join(each)}{by}{why}"


def _tree(job: Job, folder: Path) -> ast.Module:
    """The script as it is written; an empty one where it can't be read, which others say."""
    name, given = job.spec.entrypoint, job.spec.source
    try:
        text = given.get(name) or next(
            path.read_bytes() for path in (Path(name), folder / name) if path.is_file()
        )
        return ast.parse(text)
    except (OSError, SyntaxError, ValueError, StopIteration):
        return ast.parse("")


def group_lines(job: Job, folder: Path) -> list[str]:
    """A line for each group of `job`, whose file lies in `folder`, or one that says why nothing can be counted.

    Raises UserError where a group is left without a parameter.
    """
    if not job.spec.optimizer.groups:
        return []
    if is_script(job.spec.entrypoint):
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
