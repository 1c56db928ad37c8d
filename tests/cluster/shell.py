"""Running other programs, and the one error that the user of the test cluster sees.

Kept apart so that every module reports a failed command the same way: the command and what it wrote, no
traceback.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path


class ClusterError(Exception):
    """One sentence that says what failed and what to do about it."""


def say(text: str) -> None:
    """Progress for a person, on stderr: stdout is for what a caller evaluates."""
    print(text, file=sys.stderr, flush=True)


def run(
    *command: str | Path, stdin: str | None = None, cwd: Path | None = None, env: dict[str, str] | None = None
) -> str:
    """Run `command` and return its stdout; ClusterError with its stderr when it fails."""
    done = subprocess.run(command, input=stdin, capture_output=True, text=True, cwd=cwd, env=env)
    if done.returncode != 0:
        words = " ".join(map(str, command))
        raise ClusterError(
            f"`{words}` failed with {done.returncode}: {(done.stderr or done.stdout).strip()[-1500:]}"
        )
    return done.stdout


def succeeds(*command: str | Path) -> bool:
    """Whether `command` ends with 0; its output is dropped."""
    quiet = subprocess.DEVNULL
    return subprocess.run(command, stdin=quiet, stdout=quiet, stderr=quiet).returncode == 0


def wait_until(
    what: str, ready: Callable[[], bool], seconds: float, alive: Callable[[], Sequence[str]] = lambda: ()
) -> None:
    """Poll `ready` until it holds; ClusterError after `seconds`, or at once with what `alive` says."""
    deadline = time.monotonic() + seconds
    while not ready():
        if dead := alive():
            raise ClusterError(f"{what}: {'; '.join(dead)}")
        if time.monotonic() > deadline:
            raise ClusterError(f"{what}: not within {seconds:.0f} s")
        time.sleep(0.1)
