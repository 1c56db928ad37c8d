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

_QUIET_SECONDS = 3.0
"""A wait shorter than this is not worth a line."""
_AGAIN_SECONDS = 30.0


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
    """Poll `ready` until it holds; ClusterError after `seconds`, or at once with what `alive` says.

    On a busy machine a wait is long, so a person is told what is waited for, and told again now and then.
    """
    began = time.monotonic()
    word_due = _QUIET_SECONDS
    while not ready():
        waited = time.monotonic() - began
        if dead := alive():
            raise ClusterError(f"{what}: {'; '.join(dead)}")
        if waited > seconds:
            raise ClusterError(f"{what}: not within {seconds:.0f} s")
        if waited >= word_due:
            say(f"waiting for {what}: {waited:.0f} s so far, at most {seconds:.0f} s")
            word_due = waited + _AGAIN_SECONDS
        time.sleep(0.1)
