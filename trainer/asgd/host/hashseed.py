"""The hash seed of every process that runs users' code, however it was started.

Python reads it once, when it starts. So a command that was started with another one starts itself again: in a
container, by hand (`asgd worker --join`), and in a replay. What `asgd run` starts has the right one from the beginning.
"""

from __future__ import annotations

import os
import sys

from asgd.spec.environment import HASH_SEED


def settle_hash_seed() -> None:
    """Returns where hashes are those of `HASH_SEED`; else this process becomes the same command with them."""
    # NB: seed 0 is the one that the flag tells; the variable may have been changed since by users' code.
    if not sys.flags.hash_randomization or sys.flags.ignore_environment or not sys.executable:
        return
    if HASH_SEED.items() <= os.environ.items():  # asked for, and not obeyed: it would be so again
        return
    os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **HASH_SEED})
