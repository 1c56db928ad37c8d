"""Spans of reconciles, each with a child for every request to the API server, if the operator is told of a collector.

Passes are told apart by a context variable, which the tasks of a pass inherit. An operator that is not traced has the
plain queue and the plain client.
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from asgd.tracing.opening import ALL, open_spans
from asgd_operator.errors import OperatorError
from asgd_operator.kube import Kube, Manifest

if TYPE_CHECKING:
    from asgd.tracing.spans import Spans

log = logging.getLogger(__name__)

Work = Callable[[str], Awaitable[float | None]]


@dataclass
class _Request:
    name: str
    about: Mapping[str, str | bool]
    began: int
    ended: int
    error: str


@dataclass
class _Pass:
    clock: Callable[[], int]
    requests: list[_Request] = field(default_factory=list)


_PASS: ContextVar[_Pass | None] = ContextVar("pass", default=None)


def spans_of_operator() -> Spans | None:
    """As the standard variables say; all reconciles, unless they say otherwise. None: nothing is traced."""
    return open_spans("asgd-operator", {}, log.warning, share=ALL)


def traced(work: Work, spans: Spans) -> Work:
    """`work` on a key `namespace/name`, and a span of each time with what it has asked of the API server."""
    from asgd.tracing.spans import CLIENT, nanoseconds

    async def worked(key: str) -> float | None:
        trace = spans.fresh()
        if not spans.wants(trace):
            return await work(key)
        this, began, error = _Pass(nanoseconds), nanoseconds(), ""
        token = _PASS.set(this)
        try:
            return await work(key)
        except BaseException as why:
            error = f"{type(why).__name__}: {why}"
            raise
        finally:
            _PASS.reset(token)
            namespace, _, name = key.partition("/")
            about: dict[str, str | int] = {
                "k8s.namespace.name": namespace,
                "asgd.job": name,
                "asgd.requests": len(this.requests),
            }
            span = spans.add(
                "asgd.reconcile", began, nanoseconds(), trace=trace, attributes=about, error=error
            )
            for each in this.requests:
                spans.add(
                    each.name, each.began, each.ended, trace=trace, parent=span, kind=CLIENT,
                    attributes=each.about, error=each.error,
                )  # fmt: skip

    return worked


class TracedKube(Kube):
    """Notes what is asked within a traced pass, and how it was answered."""

    async def _request(
        self, method: str, path: str, kind: str, *, query: Mapping[str, str] | None = None, **more: Any
    ) -> Manifest:  # fmt: skip
        this = _PASS.get()
        if this is None:
            return await super()._request(method, path, kind, query=query, **more)
        about: dict[str, str | bool] = {"http.request.method": method, "url.path": path, "k8s.kind": kind}
        about["asgd.dry_run"] = query is not None and "dryRun" in query
        began, error = this.clock(), ""
        try:
            return await super()._request(method, path, kind, query=query, **more)
        except BaseException as why:
            error = f"{type(why).__name__}: {why}" if isinstance(why, OperatorError) else type(why).__name__
            raise
        finally:
            this.requests.append(_Request(f"{method} {kind}", about, began, this.clock(), error))
