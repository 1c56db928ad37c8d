"""A centre whose sampled exchanges become spans: one of the exchange, and of each shard its push, wait and pull.

An exchange that is not sampled costs a hash; one of a worker that is not traced costs nothing, for its centre is the
plain one. The lanes are listened to while a sampled exchange runs, and by nobody else.
"""

from __future__ import annotations

from typing import Any

from asgd.kernel import F32
from asgd.tracing.ids import Ids, ids_of
from asgd.tracing.spans import CLIENT, Spans, nanoseconds
from asgd.wire.lanes import Lane
from asgd.wire.messages import AnyMessage, Exchange, Message, Pull, Reply
from asgd.worker.sending.centre import Centre
from asgd.worker.sending.channel import Channel
from asgd.worker.sending.headers import Outcome, PushHeader
from asgd.worker.sending.shards import Source


class TracedCentre(Centre):
    """A `Centre` with `spans`, which are closed when it leaves."""

    def __init__(self, *given: Any, spans: Spans, **named: Any) -> None:
        super().__init__(*given, **named)
        self.spans = spans

    def exchange(
        self, push: F32 | None, pull: F32 | None, meta: PushHeader, source: Source | None = None
    ) -> Outcome:
        pushes, who, first = push is not None or meta.bare, self.identity, self.channels[0]
        newest = meta.sequence if pushes else first.acknowledged
        ids = ids_of(who.job, who.index, who.incarnation, newest, first.requests + 1)
        if not self.spans.wants(ids.trace):
            return super().exchange(push, pull, meta, source)
        heard = [_Heard(channel.lane) for channel in self.channels]
        for channel, lane in zip(self.channels, heard, strict=True):
            channel.lane = lane
        began, error = nanoseconds(), ""
        try:
            return super().exchange(push, pull, meta, source)
        except BaseException as why:
            error = str(why) or type(why).__name__
            raise
        finally:
            ended = nanoseconds()
            for channel, lane in zip(self.channels, heard, strict=True):
                channel.lane = lane.lane
            # NB: pulls without a push belong to the trace of the push before them, whose span has its id already.
            alone = not pushes and newest > 0
            span = self.spans.add(
                "asgd.exchange", began, ended, trace=ids.trace, span=0 if alone else ids.exchange,
                parent=ids.exchange if alone else 0, attributes=self._about(meta, pushes, pull is not None),
                error=error,
            )  # fmt: skip
            for channel, lane in zip(self.channels, heard, strict=True):
                _tell(self.spans, ids, span, channel, lane, began, ended)

    def leave(self, reason: str = "") -> None:
        super().leave(reason)
        self.spans.close()

    def _about(self, meta: PushHeader, pushes: bool, pulls: bool) -> dict[str, str | int | float | bool]:
        push = {"asgd.sequence": meta.sequence, "asgd.samples": meta.samples} if pushes else {}
        return {"asgd.worker": self.identity.index, "asgd.push": pushes, "asgd.pull": pulls, **push}


class _Heard(Lane):
    """A lane during one exchange, and when what went over it: nanoseconds, 0 for what did not."""

    def __init__(self, lane: Lane) -> None:
        self.lane = lane
        self.pushing = self.acknowledged = 0
        """When the first chunk left, and when the last one's answer came."""
        self.asked = self.left = 0
        """When weights were first asked for by a message of their own, and when the last request of any kind left."""
        self.pulling = self.pulled = 0
        """When the first weights came, and the last ones."""
        self.retries = 0
        self._asked = set[tuple[type[Message], int]]()

    def send(self, message: Message, payload: Any = None) -> None:
        self.lane.send(message, payload)
        if isinstance(message, Exchange | Pull):
            self.left = nanoseconds()
            if isinstance(message, Exchange):
                self.pushing = self.pushing or self.left
            else:
                self.asked = self.asked or self.left
            self.retries += (type(message), message.chunk) in self._asked
            self._asked.add((type(message), message.chunk))

    def receive(self) -> tuple[AnyMessage, Any] | None:
        arrived = self.lane.receive()
        if arrived and isinstance(reply := arrived[0], Reply):
            now = nanoseconds()
            if reply.verdict not in ("pulled", "waiting"):
                self.acknowledged = now
            if arrived[1] is not None or reply.shared:
                self.pulled, self.pulling = now, self.pulling or now
        return arrived

    @property
    def name(self) -> str:
        return self.lane.name

    @property
    def window(self) -> int:
        return self.lane.window

    @property
    def announced(self) -> int:
        return self.lane.announced

    @property
    def run(self) -> int:
        return self.lane.run

    def polls(self) -> list[tuple[Any, int]]:
        return self.lane.polls()

    def waits(self, now: float) -> bool:
        return self.lane.waits(now)

    def returned(self) -> bool:
        return self.lane.returned()

    def close(self) -> None:
        self.lane.close()


def _tell(
    spans: Spans, ids: Ids, parent: int, channel: Channel, heard: _Heard, began: int, ended: int
) -> None:
    """The spans of one shard: the push until all of it is answered, the wait for its weights, and the pull."""
    shard = channel.shard
    about: dict[str, str | int | float | bool] = {"asgd.shard": shard, "asgd.lane": heard.name}
    if heard.pushing:
        told = {**about, "asgd.verdict": channel.verdict, "asgd.retries": heard.retries}
        spans.add(
            "asgd.push", heard.pushing, heard.acknowledged or ended, trace=ids.trace, span=ids.push(shard),
            parent=parent, kind=CLIENT, attributes=told,
        )  # fmt: skip
    left, got = heard.left or began, heard.pulling or ended
    if got > left:
        spans.add("asgd.wait", left, got, trace=ids.trace, parent=parent, attributes=about)
    if heard.asked or heard.pulling:
        told = {**about, "asgd.version": channel.version}
        spans.add(
            "asgd.pull", heard.asked or heard.pulling, heard.pulled or ended, trace=ids.trace,
            span=ids.pull(shard, channel.requests), parent=parent, kind=CLIENT, attributes=told,
        )  # fmt: skip
