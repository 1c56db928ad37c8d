"""Processes of `asgd run` end with their parent, also when it is killed outright: nothing trains on unseen."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

from asgd import exitcodes
from asgd.spec.environment import Env

_PR_SET_PDEATHSIG = 1


def end_with_parent() -> None:
    """Asks the kernel (Linux) for a SIGTERM when the process named by ASGD_PARENT ends; nothing elsewhere."""
    parent = os.environ.get(Env.PARENT, "")
    if not parent or not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM, 0, 0, 0)
    # NB: the parent may have ended before the kernel was asked.
    if os.getppid() != int(parent):
        sys.exit(exitcodes.TRY_AGAIN)
