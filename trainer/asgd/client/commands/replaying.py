"""`replay`: a job that was recorded on the cluster is executed again here, to the same bits."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

from asgd.client.access import Access
from asgd.client.commands.base import Arguments, Commands, add, add_job, count, refuse
from asgd.client.recording import fetch
from asgd.spec.environment import HASH_SEED

_HOW = """\
The job must have been sent with --record CLAIM (spec.record.pvc), and have ended. Its logs and its last checkpoint are
copied here, through a pod that mounts the claims read-only and is deleted at once; then `asgd replay` computes every
gradient again, in this environment: with the code of spec.source, else of the current directory, and with your data.
Exit codes: 0 the same bits, 1 not the same, 2 it cannot be replayed."""


def add_commands(commands: Commands) -> None:
    replay = add(
        commands, "replay", _replay, "execute a recorded job again here, to the same bits", epilog=_HOW
    )
    add_job(replay)
    replay.add_argument("--until", type=count, metavar="UPDATE", help="end after this update")
    replay.add_argument("--dump", metavar="FILE", help="write the weights to a safetensors file")
    replay.add_argument("--json", action="store_true", help="say the result as JSON")
    replay.add_argument(
        "--to",
        type=Path,
        metavar="DIR",
        help="where the recording is put, for `asgd replay DIR` (default: JOB-recording)",
    )


def _replay(access: Access, arguments: Arguments) -> int:
    job = access.job(arguments.name)
    if find_spec("torch") is None:
        raise refuse(
            "a replay computes the gradients here, which needs torch: pip install 'asgd-operator[trainer]'"
        )
    target = arguments.to or Path(f"{arguments.name}-recording")
    fetch(access, job, target, lambda text: print(text, file=sys.stderr))
    print(f"copied     into {target}; asgd replay {target} replays it again", file=sys.stderr)
    return _execute(target, arguments)


def _execute(folder: Path, arguments: Arguments) -> int:
    """In a process of its own: Python and torch read the hash seed and the count of threads when they start."""
    words = [sys.executable, "-m", "asgd.cli", "replay", str(folder)]
    words += ["--until", str(arguments.until)] if arguments.until is not None else []
    words += ["--dump", arguments.dump] if arguments.dump else []
    words += ["--json"] if arguments.json else []
    return subprocess.run(words, env={**os.environ, **HASH_SEED}, check=False).returncode
