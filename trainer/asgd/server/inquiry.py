"""Shard 0's inquiry at Zeno's oracle (`worker/oracle.py`): asks the open question, takes the answer in, gives up on
one that is silent.

Pure: it is told who spoke and what time it is (seconds, monotonic). An oracle that is dead, never comes or does not
answer holds rounds up for a bounded time once; until it speaks again the strategy decides without it.
"""

from __future__ import annotations

from collections.abc import Hashable

from asgd.server.evaluation import EVALUATOR_TIMEOUT_SECONDS
from asgd.server.round_table import RoundTable
from asgd.wire.messages import Judged, Question

FIRST_SECONDS = 60.0
"""How long the first question waits for an oracle that has not started yet."""
ANSWER_SECONDS = 120.0
"""How long an oracle whose heart beats may take over one question."""


class Inquiry:
    """About the rounds that `table` closes; `sender` is whoever the oracle's messages come from."""

    def __init__(self, table: RoundTable) -> None:
        self.table = table
        self.gave_up = False
        self._sender: Hashable | None = None
        self._open: Question | None = None
        self._since = 0.0
        self._sent: Question | None = None

    def hear(self, sender: Hashable, answer: Judged) -> Question | None:
        """The oracle speaks; the answer is the question that it has not answered yet."""
        self._sender, self.gave_up = sender, False
        self._sent = self.table.judged(answer)
        return self._sent

    def news(self) -> tuple[Hashable, Question] | None:
        """The open question and whom to send it to, once."""
        question = self.table.question
        if question is None or self._sender is None or question is self._sent:
            return None
        self._sent = question
        return self._sender, question

    def look(self, beat: float | None, now: float) -> bool:
        """Whether rounds go on without the oracle; `beat` is its newest sign of life, None after its goodbye."""
        question = self.table.question
        if question is not self._open:
            self._open, self._since = question, now
        if question is not None:
            waited = now - self._since
            left = beat is None and (self._sender is not None or waited > FIRST_SECONDS)
            dead = beat is not None and now - beat > EVALUATOR_TIMEOUT_SECONDS
            self.gave_up = self.gave_up or left or dead or waited > ANSWER_SECONDS
        self.table.oracle_away = self.gave_up
        return self.gave_up
