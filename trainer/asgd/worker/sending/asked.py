"""Leases over a socket: shard 0 is asked until it answers, or until nobody wants to wait any longer."""

from __future__ import annotations

import time

from asgd.errors import TryAgain
from asgd.wire.ask import ASK_AGAIN_SECONDS, Asker
from asgd.wire.messages import AnyMessage, Granted, Hello, Lease
from asgd.worker.sending.leases import Leases
from asgd.worker.sending.patience import Patience


class AskedLeases:
    """`leases` over the socket of `asker`; `patience` bounds how long shard 0 may be silent."""

    def __init__(self, leases: Leases, asker: Asker, patience: Patience) -> None:
        self._leases, self._asker, self._patience = leases, asker, patience
        self.holds = leases.holds

    def next(self) -> Granted:
        """The next range, `wait` or `over`. Raises TryAgain when shard 0 stays away, as `faults.error_of` when not."""
        asking = self._leases.asking()
        question = next(asking)
        while True:
            try:
                question = asking.send(self._ask(question))
            except StopIteration as end:
                granted: Granted = end.value
                return granted

    def _ask(self, question: Lease | Hello) -> AnyMessage:
        began = time.monotonic()
        while True:
            try:
                return self._asker.ask(question, ASK_AGAIN_SECONDS)
            except TryAgain:
                self._patience.check(lambda: "shard 0, asked for data,", began, time.monotonic())
