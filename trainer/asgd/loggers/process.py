"""`python -m asgd.loggers.process`: one logger of a job, a process of its own, beside the launcher or the evaluator.

So its library's imports, threads and failures touch nothing that trains. A byte on standard input, or its end, means:
the run is over, or who started this process is; write what is still there and end. What is wrong stands in `kept`,
which the starter reads.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
import traceback
from contextlib import suppress
from pathlib import Path

from asgd.errors import UserError
from asgd.host.env import read_job
from asgd.host.say import say
from asgd.loggers.following import Following
from asgd.loggers.kept import Kept
from asgd.loggers.kinds import kind_of
from asgd.loggers.opening import open_sink
from asgd.loggers.sink import Place, config_of

LOOK_SECONDS = 1.0
AGAIN_SECONDS = 10.0
LAST_TRIES = 3


def main(argv: list[str]) -> int:
    """Logger number argv[0] of the job in ASGD_JOB: follows argv[1], keeps argv[2], writes to folder argv[3] as run
    argv[4]; argv[5], if not empty, is the run's identity."""
    over = threading.Event()
    for caught in (signal.SIGTERM, signal.SIGINT):
        signal.signal(caught, lambda number, frame: over.set())
    threading.Thread(target=_listen, args=[over], name="over", daemon=True).start()
    number, history, keeps, folder, name, identity = argv
    job = read_job(os.environ)
    logger = job.spec.logging[int(number)]
    kept = Kept.load(Path(keeps), identity)
    place = Place(name, Path(folder), job.name, kept.id, config_of(job))
    following = Following(Path(history), kept, lambda: open_sink(logger, place))
    say(f"logger {kind_of(logger)} of {job.name}, run {kept.id}")
    return follow(following, Path(keeps), over)


def _listen(over: threading.Event) -> None:
    os.read(sys.stdin.fileno(), 1)
    over.set()


def follow(following: Following, keeps: Path, over: threading.Event) -> int:
    """Until `over`, and all is written or can't be; 1 when it can't."""
    failed, saved = 0, b""
    while True:
        last, trouble = over.is_set(), ""
        try:
            while following.look():
                pass
            if last:
                following.close()
            failed = 0
        except Exception as error:
            # A library may raise anything, and nothing of it may end the training.
            traceback.print_exception(error)
            following.give_up()
            failed += 1
            trouble = f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]
        following.kept.trouble = trouble
        saved = _save(following.kept, keeps, saved)
        if last and (not failed or failed >= LAST_TRIES):
            return int(failed > 0)
        if last:
            time.sleep(LOOK_SECONDS)
        else:
            over.wait(AGAIN_SECONDS if failed else LOOK_SECONDS)


def _save(kept: Kept, path: Path, saved: bytes) -> bytes:
    """Writes what has changed; returns what stands there."""
    now = kept.text()
    # NB: a full disk is told by who writes the history.
    with suppress(OSError):
        if now != saved:
            kept.save(path)
            saved = now
    return saved


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except UserError as error:
        print(f"asgd: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
