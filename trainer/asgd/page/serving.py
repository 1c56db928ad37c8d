"""The page beside a run: a thread of the launcher, or of a container beside shard 0, never of a server.

It takes a look once a second. Until somebody opens the page it costs a listening socket and the model of a second: the
HTTP library is imported for the first one who connects. What goes wrong here is said once and hurts no training.
"""

from __future__ import annotations

import os
import select
import socket
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from asgd.page import OFF, record
from asgd.page import address as addresses
from asgd.page.feed import Feed
from asgd.page.model import About, Model
from asgd.spec.status import Status

SECONDS = 1.0
KEEP_SECONDS = 60.0
"""How often page.json is written while the run goes on."""
FRESH_SECONDS = 3.0


@dataclass(frozen=True, slots=True)
class Door:
    """Where a page is served. `where`: HOST:PORT or `off`."""

    where: str
    token: str = ""
    """Empty: a new one where one is needed, and the address is left in the run's folder."""
    option: str = "--page"
    """Who has given `where`."""
    again: str = record.AGAIN
    """What is told where it goes on with what an earlier start has left."""


class Serving:
    """The page of the run in `folder`. Raises UserError when that cannot be served."""

    def __init__(self, about: About, folder: Path, door: Door, note: Callable[[str], None]) -> None:
        self._folder, self._note = folder, note
        self.model, self.feed = Model(about), Feed(f"{os.getpid()}-{time.time_ns():x}")
        self._began = time.monotonic()
        self.url, self.lacks = "", ""
        self._listener: socket.socket | None = None
        self._publishes, self._again = not door.token, door.again
        if door.where != OFF and find_spec("aiohttp") is None:
            self.lacks = "the page is not served: `pip install asgd-operator[page]` brings it"
        elif door.where != OFF:
            self._listener, self.url, self._token = addresses.listen(door.where, door.token, door.option)
        self._status: Status | None = None
        self._told_at = 0.0
        self._ended, self._closed = threading.Event(), threading.Event()
        self._kept = 0.0
        self._thread = threading.Thread(target=self._run, name="page", daemon=True)

    def start(self) -> None:
        """From now on it looks and serves."""
        if self._listener and self._publishes:
            self._publish()
        if told := record.read(self._folder):
            # Of an earlier start; what is damaged is begun anew.
            with suppress(KeyError, TypeError, ValueError):
                self._began -= record.resume(self.model, told, self._again)
        self._thread.start()

    def tell(self, status: Status) -> None:
        """The newest status of shard 0."""
        self._status, self._told_at = status, time.monotonic()
        self.model.unread = ""

    def tell_unread(self, why: str) -> None:
        """Shard 0 has answered what cannot be read."""
        self.model.unread = why

    def finish(self) -> None:
        """The run is over: nothing new is told, and the page stays."""
        self._ended.set()

    def close(self, *, over: bool = True) -> None:
        """Serves no longer. `over`: so is the run; a last look is for those who are there and for the file."""
        if over:
            self._ended.set()
        self._closed.set()
        if self._thread.ident is not None:
            self._thread.join()
        if self._listener:
            self._listener.close()
            if self._publishes:
                (self._folder / addresses.FILE).unlink(missing_ok=True)

    @property
    def t(self) -> float:
        """Seconds since the page's beginning."""
        return time.monotonic() - self._began

    @property
    def works(self) -> bool:
        """Its thread has not ended."""
        return self._thread.is_alive()

    # -- the thread --------------------------------------------------------------------------------

    def _run(self) -> None:
        try:
            listening = self._alone()
            if listening and self._listener:
                from asgd.page.live import run  # for the first one who looks

                run(self, self._listener, self._token)
        except Exception:
            self._note(f"warning: the page has ended, training goes on without it: {traceback.format_exc()}")
        finally:
            with suppress(Exception):
                self.model.over = self.over
                if self.model.status:
                    record.write(self.model, self._folder)

    def _alone(self) -> bool:
        """Looks once a second until somebody connects (True) or nothing is served any more."""
        while not self.closed:
            until = time.monotonic() + SECONDS
            while (left := until - time.monotonic()) > 0 and not self.closed:
                ready = select.select([self._listener] if self._listener else [], [], [], min(left, 0.25))[0]
                if ready:
                    return True
            self.look()
        self.look()
        return False

    def look(self, looks: bool = False) -> bytes:
        """One second more, the last one of a run that is over; returns the event for those who look, if there is one.

        In the page's thread.
        """
        if self.over:
            return b"" if self.model.over else self._last_look()
        t, fresh = self.t, time.monotonic() - self._told_at < FRESH_SECONDS
        event = self.feed.add(self.model.tell(self._status, t, fresh), t, looks=looks)
        if t - self._kept > KEEP_SECONDS and self._status:
            self._keep(t)
        return event

    def _last_look(self) -> bytes:
        self.model.over = True
        t = self.t
        event = self.feed.add(self.model.tell(self._status, t) | {"over": True}, t, looks=True)
        if self._status:
            self._keep(t)
        return event

    def _keep(self, t: float) -> None:
        self._kept = t
        with suppress(OSError):  # a full disk is told by who writes the history
            record.write(self.model, self._folder)

    @property
    def over(self) -> bool:
        """The run has ended."""
        return self._ended.is_set()

    @property
    def closed(self) -> bool:
        """Nothing is served any more."""
        return self._closed.is_set()

    def _publish(self) -> None:
        path = self._folder / addresses.FILE
        with suppress(OSError):
            path.touch(mode=0o600)
            path.write_text(self.url + "\n", encoding="utf-8")
