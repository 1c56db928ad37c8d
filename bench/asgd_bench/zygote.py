"""Worker and evaluator processes without the two seconds of `import torch` each: forked from one that has done it.

Reads `{"main": "worker" | "evaluate", "env": {...}, "log": PATH}` lines, forks, answers with the pid; `{"warm": NAME}`
reads the data of an example once for all. Forking is safe here since nothing in this process has computed or started
a thread; a forked worker runs exactly what `asgd worker` runs.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

from asgd.host.orphans import end_with_parent
from asgd.spec.environment import Env
from asgd_bench.system import Failed


class Zygote:
    """The other end: starts the process and asks it for forks, which end with it."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "asgd_bench.zygote"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, "OMP_NUM_THREADS": "1", Env.PARENT: str(os.getpid())},
        )  # fmt: skip

    def warm(self, example: str) -> None:
        """Has the example's data read before anything is timed."""
        self._ask({"warm": example})

    def fork(self, main: str, env: dict[str, str], log: Path) -> int:
        """Starts `asgd worker` or `asgd evaluate`; returns its pid."""
        return int(self._ask({"main": main, "env": env, "log": str(log)}))

    def _ask(self, request: dict[str, Any]) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(request) + "\n")
            self._process.stdin.flush()
        answer = self._process.stdout.readline()
        if not answer:
            raise Failed("worker processes could not be started (is torch installed?)")
        return answer

    def close(self) -> None:
        """Ends it and its forks."""
        self._process.kill()
        self._process.wait()


def serve() -> None:
    """Runs until standard input ends."""
    from asgd.worker import evaluator, process
    from asgd_bench.tasks import EXAMPLES

    end_with_parent()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    mains = {"worker": process.main, "evaluate": evaluator.main}
    for line in sys.stdin:
        request = json.loads(line)
        if name := request.get("warm"):
            if name in EXAMPLES:
                EXAMPLES[name]()
            print("warm", flush=True)
            continue
        pid = os.fork()
        if not pid:
            _become(mains[request["main"]], request["env"], request["log"])
        print(pid, flush=True)


def _become(main: Any, env: dict[str, str], log: str) -> None:
    """In the child: never returns."""
    code = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        file = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        os.dup2(file, 1)
        os.dup2(file, 2)
        os.environ.update(env, ASGD_PARENT=str(os.getppid()))
        end_with_parent()
        code = main()
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        os._exit(code)


if __name__ == "__main__":
    serve()
