"""What processes of a fork server under test do: each main writes what it sees to its log."""

from __future__ import annotations

import atexit
import json
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import numpy as np

STATE: list[str] = []
FILES = Path("/proc/self/fd")


def remember(word: str) -> list[str]:
    """Changes this process."""
    STATE.append(word)
    return STATE


def refuse() -> None:
    """Fails."""
    raise RuntimeError("not today")


def tell() -> int:
    """Everything that could tell a fork from a new process."""
    atexit.register(print, "the exit handler")
    told = {
        "state": STATE, "argv": sys.argv[1:], "part": os.environ["ASGD_PART"], "parent": os.getppid(),
        "session": os.getsid(0) == os.getpid(), "stdin": sys.stdin.read(), "random": random.random(),
        "numpy": float(np.random.rand()), "hash": hash("a word"),
        "files": [str(f.readlink()) for f in FILES.iterdir() if int(f.name) > 2 and f.is_symlink()],
    }  # fmt: skip
    print(json.dumps(told))
    return 7


def leave() -> int:
    """Ends as a program may."""
    sys.exit("a last word")


def crash() -> int:
    """Fails."""
    raise ZeroDivisionError("the third wheel")


def sleep() -> int:
    """Until it is killed; has a child that ends before."""
    child = subprocess.Popen(["sleep", "0.01"])
    print(child.pid, flush=True)
    time.sleep(600)
    return 0
