"""`asgd worker --join DIR`: one more worker for a run on this machine, started by hand.

The run's folder tells how to reach it. A guest claims the next free index by its announcement file, which also lets the
run list it in processes.json; it ends with the job, or earlier by Ctrl-C or SIGTERM.
"""

from __future__ import annotations

import json
import os
from itertools import count
from pathlib import Path

from asgd.errors import UserError
from asgd.host.ranks import drop_ranks
from asgd.host.say import say
from asgd.spec.environment import Env


def join(folder: Path, index: int | None) -> None:
    """Sets this process's environment so that it joins the run in `folder`. Raises UserError when none goes on."""
    try:
        told = json.loads((folder / "connect.json").read_text(encoding="utf-8"))
        rows = json.loads((folder / "processes.json").read_text(encoding="utf-8"))
        if index is None:
            index = _claim(
                folder, 1 + max((row["index"] for row in rows if row["role"] == "worker"), default=-1)
            )
    except (OSError, ValueError) as error:
        raise UserError(f"--join: no run of `asgd run` is going on in {folder}") from error
    for line in drop_ranks():
        say(f"warning: {line}")
    os.environ.update(told)
    os.environ[Env.INDEX] = str(index)
    os.environ[Env.ANNOUNCE] = str(_announcement(folder, index))


def _claim(folder: Path, first: int) -> int:
    for index in count(first):
        try:
            _announcement(folder, index).touch(exist_ok=False)
        except FileExistsError:
            continue
        return index
    raise AssertionError("numbers do not end")


def _announcement(folder: Path, index: int) -> Path:
    return (folder / "logs" / f"worker-{index}.json").absolute()
