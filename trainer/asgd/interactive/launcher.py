"""The process that `asgd.run` starts: the command line's launcher, which talks to Python instead of to a terminal.

    python -m asgd.interactive.launcher      reads an Order, tells Messages (`protocol.py`)

A process of its own keeps signal handlers, fork servers and threads out of the notebook, and does what `asgd run` does
by the very same lines. What users' code prints in it, and tracebacks, go to its standard error.
"""

from __future__ import annotations

import contextlib
import io
import os
import shutil
import signal
import sys
import threading
from pathlib import Path
from typing import BinaryIO

import msgspec

from asgd import exitcodes
from asgd.drivers.display import Display
from asgd.errors import AsgdError
from asgd.interactive.protocol import Began, Ended, Message, Note, Order, Said, Told, Waiting
from asgd.spec import Job, job_from_json
from asgd.spec.status import Status


class Channel:
    """Tells messages for as long as somebody reads them."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._lock = threading.Lock()

    def tell(self, message: Message) -> None:
        """Once the reader is gone it is told nothing, and the job goes on to its stop."""
        with self._lock, contextlib.suppress(OSError, ValueError):
            self._stream.write(msgspec.json.encode(message) + b"\n")
            self._stream.flush()


class Forwarding(Display):
    """Leaves it to the reader what is shown, and how."""

    def __init__(self, channel: Channel, output: Path) -> None:
        super().__init__(io.StringIO(), quiet=True)
        self._channel = channel
        channel.tell(Began(str(output.absolute())))

    def update(self, status: Status) -> None:
        self._channel.tell(Told(status))

    def warn(self, text: str) -> None:
        self._channel.tell(Note(text, warning=True))

    def note(self, text: str, *, matters: bool = True) -> None:
        self._channel.tell(Note(text, matters))

    def waiting(self, text: str) -> None:
        self._channel.tell(Waiting(text))

    def close(self) -> None:
        """There is nothing to give back."""


class _Lines(io.TextIOBase):
    """Standard output, line by line."""

    def __init__(self, channel: Channel) -> None:
        self._channel, self._held = channel, ""

    def write(self, text: str) -> int:
        *lines, self._held = (self._held + text).split("\n")
        for line in lines:
            self._channel.tell(Said(line))
        return len(text)

    def writable(self) -> bool:
        return True


def main() -> int:
    """Does what it is ordered to; returns the exit code that it has told."""
    # NB: whatever else writes to descriptor 1, in C or in a child, must not come between messages.
    channel = Channel(os.fdopen(os.dup(1), "wb"))
    os.dup2(2, 1)
    order = msgspec.json.decode(sys.stdin.buffer.readline(), type=Order)
    threading.Thread(target=_stop_without_reader, name="reader", daemon=True).start()
    ended = Ended(exitcodes.INTERRUPTED)
    try:
        with contextlib.redirect_stdout(_Lines(channel)):
            ended = _obey(order, channel)
    except AsgdError as error:
        ended = Ended(error.exit_code, str(error))
    except SystemExit as error:
        ended = Ended(error.code if isinstance(error.code, int) else 1)
    except KeyboardInterrupt:
        pass
    shutil.rmtree(order.staging, ignore_errors=True)
    channel.tell(ended)
    return ended.code


def _stop_without_reader() -> None:
    """Whoever gave the order is gone: nobody is left to stop the job but this."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


def _obey(order: Order, channel: Channel) -> Ended:
    if order.what == "replay":
        return _replay(order)
    if order.what == "simulate":
        return Ended(_simulate(order, channel))
    from asgd.drivers.local.starter import Starter

    folder = Path(order.folder)
    with Starter(folder) as starter:  # torch is imported while this process goes on
        from asgd.drivers.local import run as local

        job = _job(order)
        show = lambda output: Forwarding(channel, output)  # noqa: E731
        return Ended(local.run(job, folder, order.output, starter, show, transport=order.transport))


def _simulate(order: Order, channel: Channel) -> int:
    from asgd.cli import parser
    from asgd.commands import simulate

    job = _job(order)
    # NB: the options are the command line's, but they are not a person's who would want a usage message.
    arguments = parser("simulate").parse_args(["simulate", "job.yaml", *order.options])
    described = simulate.world(arguments, job.spec.workers.replicas)
    show = lambda output: Forwarding(channel, output)  # noqa: E731
    return simulate.run(job, Path(order.folder), described, order.output, show)


def _replay(order: Order) -> Ended:
    from asgd.commands import options

    options.set_threads(Path(order.folder))
    from asgd.commands import replay

    result, said = replay.replay(Path(order.folder), order.until, order.dump)
    code = replay.DIFFERENT if result.equal is False else exitcodes.DONE
    return Ended(code, said, msgspec.to_builtins(result))


def _job(order: Order) -> Job:
    job = job_from_json(msgspec.json.encode(order.job))
    return msgspec.structs.replace(job, given=frozenset(order.given), files=order.files)


if __name__ == "__main__":
    sys.exit(main())
