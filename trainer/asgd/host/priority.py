"""Who comes first where training, serving and what can wait share cores."""

from __future__ import annotations

import os
import sys
import threading

NICENESS = 10
"""Of threads that stand back: about a tenth of a busy core, all of an idle one."""


def stand_back() -> None:
    """Lowers the priority of the calling thread alone, where threads have one of their own (Linux).

    One that stands further back already (`nice -n 19 asgd run`) stays there: to raise it is root's.
    """
    if sys.platform == "linux":
        thread = threading.get_native_id()
        if os.getpriority(os.PRIO_PROCESS, thread) < NICENESS:
            os.setpriority(os.PRIO_PROCESS, thread, NICENESS)
