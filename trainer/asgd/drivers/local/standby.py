"""A parameter server that has all its imports behind it and waits for its part: it takes a dead one's place at once.

Importing numpy and zmq is most of what a server's start costs. `Standby` starts such a process in a run of `asgd run`;
`become` sends it a shard's environment over its standard input, and from then on it is `asgd server`. It holds about
40 MiB, of which half are pages of libraries that servers share.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from asgd.host.orphans import end_with_parent


class Standby:
    """A process that waits. `env` is what all servers of the run have in common."""

    def __init__(self, env: dict[str, str], log: Path) -> None:
        with log.open("ab") as file:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "asgd.drivers.local.standby"],
                stdin=subprocess.PIPE,
                stdout=file,
                stderr=file,
                env={"OMP_NUM_THREADS": "1", **os.environ, **env},
                start_new_session=True,
            )

    def become(self, env: dict[str, str], log: Path) -> bool:
        """Makes it the server that `env` describes, which logs to `log`; False when it is dead."""
        assert self.process.stdin is not None
        try:
            with self.process.stdin as pipe:
                pipe.write(json.dumps({"env": env, "log": str(log)}).encode() + b"\n")
        except OSError:
            return False
        return self.process.poll() is None

    def end(self) -> None:
        """Ends it; nobody has used it."""
        self.process.kill()
        self.process.wait()
        if self.process.stdin:
            self.process.stdin.close()


def main() -> int:
    """Imports, waits for one line, serves; without a line there is nothing to do."""
    end_with_parent()
    import fsspec.implementations.local  # noqa: F401

    import asgd.server.process  # noqa: F401
    from asgd import cli

    line = sys.stdin.buffer.readline()
    if not line:
        return 0
    part = json.loads(line)
    log = os.open(part["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    nothing = os.open(os.devnull, os.O_RDONLY)
    for descriptor, place in ((nothing, 0), (log, 1), (log, 2)):
        os.dup2(descriptor, place)
    os.environ.update(part["env"])
    return cli.main(["server"])


if __name__ == "__main__":
    sys.exit(main())
