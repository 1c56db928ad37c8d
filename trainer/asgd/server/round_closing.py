"""A server's talk about rounds: shard 0 hears what the others hold and orders them to close, and asks Zeno's oracle.

Pure. `round_table.py` decides, `inquiry.py` knows how long an oracle is waited for; here they meet their messages.
"""

from __future__ import annotations

from asgd.algorithms.rounds import RoundServer
from asgd.server.answers import PRIMARY, Answer, Answers, Sender
from asgd.server.inquiry import Inquiry
from asgd.server.round_table import RoundPart, RoundTable
from asgd.server.shard import Shard
from asgd.wire.messages import Decided, Gathered, Judged


class RoundClosing:
    """The rounds of `shard`; the table and the inquiry are shard 0's alone."""

    def __init__(self, shard: Shard, rule: RoundServer) -> None:
        self.part = RoundPart(shard, rule)
        self.table = RoundTable(self.part, shard.shards) if shard.index == 0 else None
        self.inquiry = Inquiry(self.table) if self.table and rule.oracle else None
        self._peers: dict[int, Sender] = {}
        """The other shards, by what answers reach them."""

    def gathered(self, table: RoundTable, sender: Sender, message: Gathered) -> Answers:
        """Another shard tells shard 0 what it holds."""
        self._peers[message.shard] = sender
        order = table.hear(message)
        return ((sender, order, None),) if order else ()

    def judged(self, inquiry: Inquiry, sender: Sender, message: Judged) -> Answers:
        """The oracle speaks to shard 0."""
        question = inquiry.hear(sender, message)
        return ((sender, question, None),) if question else ()

    def obey(self, order: Decided) -> None:
        """Shard 0 has decided."""
        self.part.take(order)

    def settle(self, oracle_heard: float | None, now: float) -> tuple[Answers, str]:
        """Closes rounds that can be closed (shard 0), or reports what is new (the others); and a line for the log.

        `oracle_heard`: when the oracle last showed a sign of life, None if it never did or has left.
        """
        if self.table is None:
            news = self.part.news()
            return ((PRIMARY, news, None),) if news else (), ""
        note = self._look_at_oracle(oracle_heard, now)
        answers: list[Answer] = []
        while order := self.table.next():
            answers += ((peer, order, None) for peer in self._peers.values())
        if self.inquiry and (asked := self.inquiry.news()):
            answers.append((*asked, None))
        return answers, note

    def _look_at_oracle(self, heard: float | None, now: float) -> str:
        """Rounds go on without an oracle that does not answer; the log says so once."""
        if self.inquiry is None:
            return ""
        before = self.inquiry.gave_up
        if not self.inquiry.look(heard, now) or before:
            return ""
        return "the oracle (asgd evaluate) does not answer: rounds go on without it until it does"

    def tick(self) -> Answers:
        """The others repeat their reports, which may have been lost."""
        return ((PRIMARY, self.part.report(), None),) if self.table is None else ()
