"""One fork server of a run and what has become of it: it imports, is ready, dies and is started again, or is out."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from asgd.drivers.local.ways import Standing, after_end
from asgd.errors import UserError
from asgd.host.forking import ForkServer, Gone, Process, Refused
from asgd.host.forkserver import Part


class Source:
    """Where processes are forked. `start` starts the fork server, which then imports; it may raise Gone or Refused.

    `unfit` says of the answer that comes after the imports why nothing can be forked, or ''.
    """

    def __init__(self, name: str, start: Callable[[], ForkServer], unfit: Callable[[Any], str]) -> None:
        self.name = name
        self._start, self._unfit = start, unfit
        self._server: ForkServer | None = None
        self._ends = 0
        self.standing = Standing.IMPORTING
        self.why = ""
        """Why it is out."""

    def begin(self) -> None:
        """Starts it."""
        try:
            self._server = self._start()
        except (Gone, Refused) as error:
            self._out(str(error))

    def look(self) -> str:
        """Takes note of what has happened to it; returns a sentence for the person when it has died.

        Raises UserError when the user's code can't be imported; not when it could be before.
        """
        if self._server is None or self.standing is Standing.OUT:
            return ""
        try:
            if self.standing is Standing.IMPORTING:
                self._learn(self._server.answer())
            elif self._server.process.poll() is not None:
                raise Gone("")
        except Gone:
            return self._ended()
        except UserError as error:
            self._out(str(error))
            if not self._ends:
                raise
        except Refused as error:
            self._out(str(error))
        return ""

    def _learn(self, answer: Any) -> None:
        if answer is None:
            return
        self.standing = Standing.READY
        if why := self._unfit(answer):
            self._out(why)

    def _ended(self) -> str:
        """Starts it again in the background: what is needed meanwhile is started another way."""
        assert self._server is not None
        # NB: what it was importing may be what ended it; that would end it again.
        alone = self.standing is Standing.READY
        self._server.close()
        self._ends += 1
        self.standing = after_end(self._ends) if alone else Standing.OUT
        if self.standing is Standing.OUT:
            self._out("it ended")
            return f"the fork server of {self.name} has ended" if alone else ""
        self.begin()
        return f"the fork server of {self.name} has ended and starts again; the run goes on"

    def _out(self, why: str) -> None:
        self.standing, self.why = Standing.OUT, why
        self.close()

    def fork(self, parts: Sequence[Part]) -> list[Process] | None:
        """A process for each part; None when it has died, or the system has no room."""
        assert self._server is not None
        try:
            return [*self._server.fork(parts)]
        except (Gone, Refused):
            return None

    def branch(self, part: Part) -> ForkServer:
        """A second fork server that goes on from this one. Raises Gone, Refused."""
        if self._server is None or self.standing is not Standing.READY:
            raise Gone(f"the fork server of {self.name} is {self.standing.value}")
        return self._server.branch(part)

    @property
    def process(self) -> Process | None:
        """The fork server's own process, while there is one."""
        return self._server.process if self._server else None

    def fileno(self) -> int:
        """Readable when there is something to `look` at."""
        assert self._server is not None
        return self._server.fileno()

    def close(self) -> None:
        """Ends it, not what it has forked."""
        if self._server:
            self._server.close()
            self._server = None
