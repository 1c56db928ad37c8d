"""`asgd-operator run`: puts the parts together and keeps them going until a signal, or until the Lease is
lost.

kopf watches, the queue works, one small server answers probes and scrapes. When any of them ends the process
ends, and Kubernetes starts it again: nothing is kept in memory that a new process does not find in the
cluster.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import signal
import socket
from collections.abc import Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import cycle
from typing import TYPE_CHECKING, Any

import aiohttp
import kopf
from kopf._cogs.clients.errors import APIError
from kubernetes.aio import client

from asgd_operator import crowds, handlers, health
from asgd_operator.constants import KIND
from asgd_operator.engine.agenda import Lane
from asgd_operator.engine.observe import Indices
from asgd_operator.engine.polls import Polls
from asgd_operator.engine.queue import WorkQueue
from asgd_operator.engine.reconcile import Reconciler
from asgd_operator.engine.reports import Reports
from asgd_operator.engine.watching import Place, Watching
from asgd_operator.engine.writer import Writer
from asgd_operator.errors import OperatorError, Transient
from asgd_operator.kube import Kube, connect
from asgd_operator.lease import Lease
from asgd_operator.metrics import OperatorMetrics
from asgd_operator.settings import OperatorSettings
from asgd_operator.tracing import TracedKube, spans_of_operator, traced

if TYPE_CHECKING:
    from asgd.tracing.spans import Spans

LOOK_SECONDS = 15.0
"""How often it is asked whether everything can be watched; also how long a start waits before it asks again."""
ASKED_AT_ONCE = 40
"""Kinds in namespaces that one look asks for: with hundreds of namespaces the looks take turns."""
POLLS_SHARE = 0.8
"""Of the looks of routine that the queue has time for: each answer of shard 0 asks for one."""
WATCHED = (KIND, "StatefulSet", "Job", "Pod", "ConfigMap", "Service", "NetworkPolicy", "PodDisruptionBudget")
LISTING_SECONDS = 300.0
"""How long kopf may take to list all objects at start; ten thousand take seconds."""

log = logging.getLogger(__name__)


@dataclass
class Operator:
    """The parts of one process."""

    settings: OperatorSettings
    api: client.ApiClient
    session: aiohttp.ClientSession
    spans: Spans | None = None
    """Where reconciles are traced."""
    metrics: OperatorMetrics = field(default_factory=OperatorMetrics)
    ready: asyncio.Event = field(default_factory=asyncio.Event)
    led_since: float | None = None
    """Time of the loop at which this process took over; None while it waits for the Lease."""
    listed: bool = False
    """Whether a job has been told of. kopf tells of nothing before all objects are in the indices."""

    watching: Watching = field(default_factory=Watching)
    asks: bool = False
    """It leads, or is about to, and has asked what can be watched."""

    def __post_init__(self) -> None:
        made = TracedKube if self.spans else Kube
        self.kube = made(self.api, self.settings.queue.request_timeout_seconds, self.metrics.requested)
        asks_per_second = POLLS_SHARE * self.settings.queue.per_second
        self.reports = Reports(
            self.session,
            changed=lambda key: self.queue.add(key, lane=Lane.ROUTINE),
            polls=Polls(per_second=asks_per_second, chance=random.random),
        )
        writer = Writer(self.kube, self.metrics)
        self.reconciler = Reconciler(writer, Indices(), self.settings.jobs, self.reports, self.metrics)
        self.queue = WorkQueue(
            traced(self.reconciler, self.spans) if self.spans else self.reconciler,
            known=lambda: self.reconciler.indices.keys(),
            pace=self.settings.pace(),
            on_result=self.metrics.passed,
            on_failure=self.reconciler.failed,
        )
        self.metrics.watch_queue(lambda: self.queue.depth, self.queue.oldest_age)
        self.metrics.watch_spans(self.spans)

    async def work(self) -> None:
        """Watches and reconciles until a signal comes. Raises what ended it otherwise."""
        await self._until_watchable()
        self.led_since = asyncio.get_running_loop().time()
        self.metrics.leader.set(1)
        # NB: in the order in which they are ended: nothing is written any more when the queue is cancelled.
        parts = {
            "queue": self.queue.run(),
            "reports": self.reports.run(),
            "looks": self._look(),
            "kopf": self._watch(),
        }
        tasks = [asyncio.create_task(part, name=name) for name, part in parts.items()]
        try:
            done, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            # NB: also when this is cancelled, which ends none of them by itself.
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
        for task in done:
            _ended(task)

    async def _until_watchable(self) -> None:
        """NB: kopf looks kinds up once, and never sees one that the API server learns of later."""
        told, self.asks = "", True
        while why := await self._ask(self._places):
            if why != told:
                log.warning("waiting: %s", why)
            told = why
            await asyncio.sleep(LOOK_SECONDS)
        self.watching.begun()

    async def _look(self) -> None:
        """Asks now and then. Raises Transient when a watch that was dead can begin anew, which a new process does."""
        told, turns = "", cycle(batched(self._places))
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            why = await self._ask(next(turns))
            if why and why != told:
                log.warning("%s", why)
            told = why
            if anew := self.watching.anew:
                raise Transient(f"{anew}; the operator starts anew to do so")

    @property
    def _places(self) -> list[Place]:
        return [(kind, space) for space in self.settings.watch.namespaces or ("",) for kind in WATCHED]

    async def _ask(self, places: Sequence[Place]) -> str:
        """Asks whether each of `places` can be listed; why not all can be watched."""
        loop = asyncio.get_running_loop()
        for kind, namespace in places:
            try:
                refusal = await self.kube.may_list(kind, namespace)
            except OperatorError as error:
                log.debug("%s was not told of: %s", kind, error)
                continue
            self.watching.told((kind, namespace), refusal, loop.time())
        return self.watching.why_not(loop.time())

    async def _watch(self) -> None:
        namespaces = self.settings.watch.namespaces
        crowds.install()
        registry, settings = kopf.OperatorRegistry(), kopf.OperatorSettings()
        handlers.configure(
            settings,
            timeout_seconds=self.settings.queue.request_timeout_seconds,
        )
        handlers.register(
            registry,
            self._add,
            self.metrics,
            nodes=self.settings.watch.nodes,
            is_news=self.reconciler.is_news,
        )
        kopf.on.login(registry=registry, id="login", retries=3)(handlers.login)
        kopf.on.startup(registry=registry, id="indices")(self._take_indices)
        try:
            await kopf.operator(
                registry=registry,
                settings=settings,
                standalone=True,
                clusterwide=not namespaces,
                namespaces=namespaces,
                ready_flag=self.ready,
            )
        except APIError as error:  # a kind is gone, or a right: a new process waits until all can be watched
            raise Transient(f"a watch has ended ({error}); the operator starts anew") from error

    async def _take_indices(self, **found: Any) -> None:
        self.reconciler.indices = handlers.indices(found)

    def _add(self, key: str, lane: Lane) -> None:
        self.listed = True
        self.queue.add(key, lane=lane)

    def _unlisted(self) -> bool:
        return not self.listed and bool(self.reconciler.indices.keys())

    def sick(self) -> str:
        """Why the process should be started again."""
        if self.led_since is None:
            return ""
        now = asyncio.get_running_loop().time()
        if self._unlisted() and now - self.led_since > LISTING_SECONDS:
            return f"the first list of objects has not ended after {now - self.led_since:.0f} s"
        return health.overdue(self.queue.heartbeat, now, self.settings.queue.resync_seconds)

    def unready(self) -> str:
        """Why nobody should count on it. One that waits for the Lease is as ready as it can be."""
        if self.asks and (why := self.watching.why_not(asyncio.get_running_loop().time())):
            return why
        if self.led_since is not None and (not self.ready.is_set() or self._unlisted()):
            return "starting"
        return self.sick()


async def run(settings: OperatorSettings) -> None:
    """Returns after a signal. Raises OperatorError when there is no cluster or the Lease is lost."""
    _end_on_signals()
    async with AsyncExitStack() as stack:
        api = await stack.enter_async_context(await connect())
        session = await stack.enter_async_context(aiohttp.ClientSession())
        spans = spans_of_operator()
        if spans:
            stack.push_async_callback(asyncio.to_thread, spans.close)
        operator = Operator(settings, api, session, spans)
        server = await health.serve(settings.port, operator.metrics.text, operator.sick, operator.unready)
        stack.push_async_callback(server.cleanup)
        log.info("started with settings %s", settings.describe())
        if settings.leader_election.enabled:
            place = settings.leader_election
            identity = f"{socket.gethostname()}-{os.getpid()}"
            lease = Lease(
                Kube(api, on_request=operator.metrics.requested), place.namespace, place.name, identity
            )
            operator.kube.may_write = lease.held
            await lease.lead(operator.work)
        else:
            await operator.work()


def batched(places: list[Place]) -> list[list[Place]]:
    """In runs of `ASKED_AT_ONCE`."""
    return [places[at : at + ASKED_AT_ONCE] for at in range(0, len(places), ASKED_AT_ONCE)]


def _end_on_signals() -> None:
    """Until kopf takes the signals over: one that waits for the Lease has nothing to save."""
    task, loop = asyncio.current_task(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, task.cancel if task else loop.stop)


def _ended(task: asyncio.Task[None]) -> None:
    """Raises what ended a part of the process. Only kopf ends by itself, at a signal."""
    if task.cancelled() or (task.exception() is None and task.get_name() != "kopf"):
        raise RuntimeError(f"{task.get_name()} ended by itself")
    task.result()
