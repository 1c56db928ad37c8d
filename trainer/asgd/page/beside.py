"""`asgd page`: on a cluster the page is served by a container of its own beside shard 0, never by the server.

Nothing that happens to it may end it: a container that has ended makes its pod count as not ready. A page that fails is
begun again from what it has kept.

A StatefulSet gives all shards the same containers. Beside another shard than 0 this one waits for its end, in a shell
that needs a fiftieth of the memory.
"""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Mapping

from asgd import exitcodes
from asgd.spec.environment import Env

AGAIN_SECONDS = 10.0
"""Between two beginnings of a page that fails."""
IDLE = ("sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 86400 & wait $!; done")


def main(env: Mapping[str, str] = os.environ) -> int:
    """Until it is told to end; the exit code."""
    if env.get(Env.INDEX, "0") != "0":
        os.execvp(IDLE[0], IDLE)
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: ended.set())
    from asgd.page.asking import serve  # what it needs is loaded when it can be told to end

    while not ended.is_set():
        serve(env, ended)
        ended.wait(AGAIN_SECONDS)
    return exitcodes.DONE
