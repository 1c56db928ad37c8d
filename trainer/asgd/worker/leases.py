"""The reader's side of leases: turns shard 0's answers into ranges of samples."""

from __future__ import annotations

from collections.abc import Callable

from asgd.env import ProcessConfig
from asgd.errors import TryAgain, UserError
from asgd.wire.ask import Asker
from asgd.wire.messages import Fault, Granted, Hello, Lease


class Leases:
    """Asks shard 0 for ranges; when it does not know this worker (any more), says hello for it first."""

    def __init__(self, config: ProcessConfig, hello: Callable[[], Hello]) -> None:
        self._asker = Asker(config.servers[0], config.keys)
        self._config, self._hello = config, hello
        self._requests = 0

    def next(self) -> Granted:
        """The next range, `wait` or `over`. Raises TryAgain when shard 0 stays away, UserError when it refuses."""
        self._requests += 1
        question = Lease(self._config.index, self._config.incarnation, self._requests)
        patience = self._config.join_timeout_seconds
        while True:
            answer = self._asker.ask(question, patience)
            if isinstance(answer, Granted):
                return answer
            if not isinstance(answer, Fault):
                raise UserError(f"shard 0 answered a lease with {type(answer).__name__}")
            if answer.code != "hello":
                raise UserError(answer.text)
            welcome = self._asker.ask(self._hello(), patience)
            if isinstance(welcome, Fault) and welcome.code == "stopped":
                return Granted(over=True)
            if isinstance(welcome, Fault) and welcome.code == "session":
                raise TryAgain(welcome.text)

    def close(self) -> None:
        """Ends the connection."""
        self._asker.close()
