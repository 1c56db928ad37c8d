"""`asgd server`: opens what one parameter server needs, finds what it goes on from, and serves until told to end."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import zmq

from asgd import exitcodes
from asgd.algorithms.base import answers_weights
from asgd.algorithms.registry import halves
from asgd.errors import ProtocolError, UserError
from asgd.host.allocator import keep_freed_memory
from asgd.host.available import available_bytes
from asgd.host.env import ProcessConfig, read_config
from asgd.host.say import say
from asgd.record import pods
from asgd.record.shard import recorder
from asgd.server.bulk import open_bulk
from asgd.server.core import ServerCore
from asgd.server.rollback import Rollback
from asgd.server.saves import in_memory
from asgd.server.saves.in_memory import Memory
from asgd.server.saves.restore import find, open_store
from asgd.server.saves.saver import Saver
from asgd.server.saves.store import Store
from asgd.server.saving import Restored, StoreFacts
from asgd.server.service import Ports, Service
from asgd.tracing.opening import open_spans
from asgd.wire import control

if TYPE_CHECKING:
    from asgd.tracing.spans import Spans


def main() -> int:
    """Runs one server as its environment says. Raises UserError, TryAgain, Fenced."""
    keep_freed_memory()
    config = read_config()
    if not config.index:
        pods.leave_job(config.record, config.job)
    spans = open_spans("asgd-server", {"asgd.job": config.job.name, "asgd.shard": config.index}, say)
    try:
        service = open_service(config, spans=spans)
        while back := service.run():
            service = open_service(config, back, service, spans=spans)
    finally:
        if spans:
            spans.close()
    return exitcodes.DONE


def open_service(
    config: ProcessConfig, back: Rollback | None = None, before: Service | None = None, *, spans: Spans | None = None
) -> Service:  # fmt: skip
    """The server of shard `config.index`, listening. Raises UserError on a bad address or save, TryAgain.

    With `back` it begins by going back to a save, in the place of the service `before`. `spans`: it is traced.
    """
    spec = config.job.spec
    store = open_store(config.checkpoint) if config.checkpoint else None
    term = store.claim_term(config.index, config.run) if store else 1
    found = _find(config, store, back)
    if store and not (found or config.index or store.local):
        store.drop_optimizers()
    facts = _facts(store, goes_back=spec.on_divergence == "Rollback" and not config.index) if store else None
    ports = _open_ports(config)
    rule = halves(spec).server()
    in_place = ports.bulk is not None and spec.exchange.read_in_place and answers_weights(rule)
    core = ServerCore(
        config.job, config.index, term, run=config.run, store=facts,
        recorder=recorder(config.record, config.index, term),
        memory=ports.bulk.weights_memory if ports.bulk and in_place else None,
        rollbacks=found.rollbacks if found else 0,
    )  # fmt: skip
    # NB: without a store there are no terms.
    if config.memory and store:
        ports.memory = Memory(config.memory, core.shard, config.run)
        if core.primary:
            core.primary.remembers = True
    core.knowledge.room, core.knowledge.started = available_bytes(), (config.incarnation, time.monotonic())
    _restore(core, found)
    ports.saver = Saver(store) if store else None
    return _made(spans)(config, core, ports, before)


def _made(spans: Spans | None) -> Callable[..., Service]:
    if spans is None:
        return Service
    from asgd.server.traced import TracedService  # its library is loaded by those alone who are traced

    return partial(TracedService, spans=spans)


def _open_ports(config: ProcessConfig) -> Ports:
    context: zmq.Context[Any] = zmq.Context()
    needs_guard = config.keys and not control.is_local(config.bind)
    guard = control.guard(context, config.keys) if needs_guard and config.keys else None
    ports = Ports(context, control.router(context, config.bind, config.keys), guard=guard)
    if config.index:
        ports.dealer = control.dealer(context, config.servers[0], config.keys)
        # NB: reports are snapshots; while shard 0 is away only the newest is worth keeping.
        ports.dealer.sndhwm = 4
    if config.job.spec.exchange.lane != "zmq":
        sealed = guard is not None
        ports.bulk = open_bulk(config.bind, config.bulk, sealed, config.job.name, config.index)
    return ports


def _facts(store: Store, *, goes_back: bool) -> StoreFacts:
    complete = []
    for number in store.saves() if goes_back else ():
        with suppress(UserError):  # a damaged one is none to go back to
            complete.append((number, store.manifest(number).updates))
    return StoreFacts(store.uri, max(store.begun(), default=0), tuple(complete))


def _find(config: ProcessConfig, store: Store | None, back: Rollback | None) -> Restored | None:
    """What the server goes on from."""
    shards, kept = config.job.spec.parameter_server.shards, None
    if config.memory and store and back:
        in_memory.discard(config.memory, config.index, shards)
    elif config.memory and store:
        kept = in_memory.newest(config.memory, config.index, shards, config.run)
    found = find(config.job, config.index, config.run, store, kept, back)
    if store and back and found:
        store.undo(found.number, config.index)
    return found


def _restore(core: ServerCore, found: Restored | None) -> None:
    try:
        core.restore(found, time.monotonic())
    except ProtocolError as error:
        raise UserError(f"spec.checkpoint.restore: {error}") from error
