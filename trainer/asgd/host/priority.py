"""Who comes first where training, serving and what can wait share cores."""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 10
"""Of threads that stand back: about a tenth of a busy core, all of an idle one."""


def stand_back() -> None:
    """Lowers the priority of the calling thread alone, where threads have one of their own (Linux)."""
    if sys.platform == "linux":
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
