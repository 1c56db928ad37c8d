"""A service whose sampled requests become spans: of each push and pull of a traced exchange what this shard does.

Their parent is the worker's span, whose id both sides make of what the message says anyway (`tracing/ids.py`). A server
that is not traced is a plain `Service`.
"""

from __future__ import annotations

from typing import Any

from asgd.host.env import ProcessConfig
from asgd.server.core import ServerCore
from asgd.server.service import Ports, Service
from asgd.tracing.ids import Ids, ids_of
from asgd.tracing.spans import SERVER, Spans, nanoseconds
from asgd.wire.messages import AnyMessage, Exchange, Fault, Hello, Message, Pull, Reply


class TracedService(Service):
    """A `Service` with `spans`."""

    def __init__(
        self, config: ProcessConfig, core: ServerCore, ports: Ports, before: Service | None, *, spans: Spans
    ) -> None:
        self.spans: Spans = spans
        self._newest: dict[int, tuple[int, int]] = {}
        """Of each worker: its incarnation, and the number of its newest push."""
        self._asked: Any = None
        self._answer: Message | None = None
        self._ended = 0
        super().__init__(config, core, ports, before)

    def serve(self, core: ServerCore, sender: Any, message: AnyMessage, payload: Any) -> None:
        ids = self._ids(message)
        if ids is None or not self.spans.wants(ids.trace):
            super().serve(core, sender, message, payload)
            return
        assert isinstance(message, Exchange | Pull)
        # NB: before it is served, for that changes the shard's version, and may the message.
        about = _about(core, message)
        self._asked, self._answer = sender, None
        began = nanoseconds()
        try:
            super().serve(core, sender, message, payload)
        finally:
            self._asked = None
        self._tell(ids, message, began, about)

    def send(self, to: Any, message: Message, body: Any) -> None:
        if self._asked is not None and to == self._asked and isinstance(message, Reply | Fault):
            # NB: before it leaves, for the worker's span may end as soon as it is there.
            self._answer, self._ended = message, nanoseconds()
        super().send(to, message, body)

    def _ids(self, message: AnyMessage) -> Ids | None:
        """None: no part of a worker's exchange."""
        if isinstance(message, Exchange):
            self._newest[message.index] = message.incarnation, message.sequence
            return ids_of(self.config.job.name, message.index, message.incarnation, message.sequence, 0)
        if isinstance(message, Hello) and message.role == "worker":
            self._newest[message.index] = message.incarnation, message.sequence
        if isinstance(message, Pull) and message.role == "worker":
            incarnation, newest = self._newest.get(message.index, (message.incarnation, 0))
            newest = newest if incarnation == message.incarnation else 0
            return ids_of(self.config.job.name, message.index, message.incarnation, newest, message.request)
        return None

    def _tell(self, ids: Ids, message: Exchange | Pull, began: int, about: dict[str, Any]) -> None:
        shard, answer, error = about["asgd.shard"], self._answer, ""
        if isinstance(message, Exchange):
            name, parent = "asgd.serve.push", ids.push(shard)
        else:
            name, parent = "asgd.serve.pull", ids.pull(shard, message.request)
        if isinstance(answer, Fault):
            error = f"{answer.code}: {answer.text}"
        elif isinstance(answer, Reply):
            about |= {"asgd.verdict": answer.verdict, "asgd.version": answer.version}
        self.spans.add(
            name, began, self._ended if answer else nanoseconds(), trace=ids.trace, parent=parent, remote=True,
            kind=SERVER, attributes=about, error=error,
        )  # fmt: skip


def _about(core: ServerCore, message: Exchange | Pull) -> dict[str, Any]:
    shard = core.shard
    about = {"asgd.worker": message.index, "asgd.shard": shard.index, "asgd.chunk": message.chunk}
    if isinstance(message, Exchange):
        about |= {"asgd.sequence": message.sequence, "asgd.chunks": message.run}
        if message.chunk == 0:
            models = shard.state.models
            version = models[message.part] if message.part < len(models) else shard.state.version
            about["asgd.staleness"] = max(0, version - message.base)
    return about
