"""A launcher as the process that has started it sees it: its messages, taken by a thread, and signals to it.

The thread only keeps what has come; whatever is shown is shown by who waits, so that it appears where that one writes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from contextlib import suppress
from pathlib import Path

import msgspec

from asgd import exitcodes
from asgd.drivers.display import Display
from asgd.interactive.protocol import AnyMessage, Began, Ended, Note, Order, Said, Told, Waiting, decoder
from asgd.interactive.sending import search_path
from asgd.spec.environment import HASH_SEED, Env
from asgd.spec.status import Status

_LAUNCHER = "asgd.interactive.launcher"
_KEPT = 1000
"""Messages that wait for somebody to show them; older ones are lost to the display."""


class Launched:
    """One launcher, started with `order`."""

    def __init__(self, order: Order) -> None:
        self._staging = Path(order.staging)
        first = [Note(order.warning, warning=True)] if order.warning else []
        self._news: deque[Note | Waiting] = deque(first, maxlen=_KEPT)
        self._changed = threading.Condition()
        self._shown: Status | None = None
        self.status: Status | None = None
        self.output: Path | None = None
        self.said: list[str] = []
        """Lines of standard output: what the command line says last."""
        self.ended: Ended | None = None
        self._log = self._staging / "launcher.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", _LAUNCHER],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=_environment(),
                # NB: Ctrl-C in a terminal goes to all of its group, but this is asked to stop by `interrupt` alone.
                start_new_session=True,
            )
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # its end says why
            self._process.stdin.write(msgspec.json.encode(order) + b"\n")
            self._process.stdin.flush()
        threading.Thread(target=self._read, name=f"asgd-{self._process.pid}", daemon=True).start()

    # -- the thread --------------------------------------------------------------------------------

    def _read(self) -> None:
        assert self._process.stdout is not None and self._process.stdin is not None
        told: Ended | None = None
        for line in self._process.stdout:
            try:
                message = decoder.decode(line)
            except msgspec.DecodeError:  # something else that writes to the same descriptor
                continue
            if isinstance(message, Ended):
                told = message
            else:
                self._take(message)
        code = self._process.wait()
        if told is None:
            told = self._silent(code)
        with suppress(OSError):
            self._process.stdin.close()
        shutil.rmtree(self._staging, ignore_errors=True)
        with self._changed:
            self.ended = told
            self._changed.notify_all()

    def _take(self, message: AnyMessage) -> None:
        with self._changed:
            match message:
                case Began():
                    self.output = Path(message.output)
                case Told():
                    self.status = message.status
                case Said():
                    self.said.append(message.text)
                case Note() | Waiting():
                    self._news.append(message)
            self._changed.notify_all()

    def _silent(self, code: int) -> Ended:
        """It has told no end: it was killed, or it broke."""
        if code in (-signal.SIGINT, -signal.SIGTERM, exitcodes.INTERRUPTED):
            return Ended(exitcodes.INTERRUPTED)
        lines = self._log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        how = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
        return Ended(
            code if code > 0 else 1, f"the launcher {how}: {lines[-1] if lines else 'it said nothing'}"
        )

    # -- for who waits -----------------------------------------------------------------------------

    def follow(self, display: Display, timeout: float | None = None) -> bool:
        """Shows what comes until the end; returns False when `timeout` seconds are over before."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            with self._changed:
                if not self._news and self.status is self._shown and self.ended is None:
                    left = 1.0 if deadline is None else deadline - time.monotonic()
                    if left <= 0:
                        return False
                    self._changed.wait(min(left, 1.0))
                news, ended = [*self._news], self.ended
                self._news.clear()
                status, before, self._shown = self.status, self._shown, self.status
            for message in news:
                _show(message, display)
            if status is not None and status is not before:
                display.update(status)
            if ended is not None:
                return True

    def join(self, timeout: float | None = None) -> bool:
        """Waits for the end in silence; returns whether it has come."""
        with self._changed:
            return self._changed.wait_for(lambda: self.ended is not None, timeout)

    def interrupt(self) -> None:
        """As one Ctrl-C."""
        with suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGINT)

    @property
    def pid(self) -> int:
        return self._process.pid


def _show(message: Note | Waiting, display: Display) -> None:
    if isinstance(message, Waiting):
        display.waiting(message.text)
    elif message.warning:
        display.warn(message.text)
    else:
        display.note(message.text, matters=message.matters)


def _environment() -> dict[str, str]:
    """This process's, with its modules within reach; what it may itself have as a part of a run is left out."""
    own = {name: value for name, value in os.environ.items() if name not in (Env.PARENT, Env.SOURCE)}
    path = os.pathsep.join(dict.fromkeys(search_path()))
    return {**own, **HASH_SEED, "PYTHONPATH": path, "PYTHONUNBUFFERED": "1"}
