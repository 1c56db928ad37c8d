"""Puts a worker in real time together: opens its centre, log and threads, and hands them to a `Replica`."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from torch import Tensor

from asgd.algorithms.attacks import attack_of
from asgd.algorithms.base import LocalRule, WorkerStrategy
from asgd.algorithms.gathering import shard_cuts
from asgd.algorithms.models import each_half
from asgd.algorithms.registry import halves
from asgd.errors import UserError
from asgd.host.env import ProcessConfig
from asgd.host.say import say
from asgd.record.worker import WorkerRecorder, recorder
from asgd.spec.environment import Env
from asgd.spec.types import JobSpec, Optimizer
from asgd.task import Task
from asgd.tracing.opening import open_spans
from asgd.wire.reports import WorkerReport
from asgd.worker.core import WorkerCore
from asgd.worker.device.accelerator import Staging
from asgd.worker.device.buffers import Buffers
from asgd.worker.device.flat import Flat
from asgd.worker.device.vectors import FlatVectors
from asgd.worker.fitted import fitted
from asgd.worker.meters import Meters
from asgd.worker.of_model import overlaps
from asgd.worker.optimizing.of_task import equip
from asgd.worker.optimizing.telling import group_lines
from asgd.worker.parallel.plan import stages_of
from asgd.worker.replica import Replica
from asgd.worker.sending.centre import Centre, open_centre
from asgd.worker.sending.headers import PeerIdentity
from asgd.worker.sending.heartbeat import Heartbeat
from asgd.worker.sending.overlap import Overlap, worthwhile
from asgd.worker.sending.patience import Patience
from asgd.worker.task.probing import Probe
from asgd.worker.wishes import Following, Observer

if TYPE_CHECKING:
    from asgd.tracing.spans import Spans


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What the servers are told of a worker's data, and what else it can do."""

    dataset: int | None
    """Samples in one epoch; None for streams."""
    guarantee: str
    evaluates: bool = False
    digest: bytes = b""
    """What data and model are like (`task/agreeing.py`)."""
    announced: bool = False
    """`Granting.pushing` is told of the backward passes."""
    own_loop: bool = False
    """The worker is a script with a loop of its own, which may tell `dataset` later."""
    rule: bytes = b""
    """The script's or the task's own optimizer (`wire/rule.py`)."""


@dataclass(frozen=True, slots=True)
class Assembled:
    """A worker's parts that whoever runs it needs."""

    replica: Replica
    recorder: WorkerRecorder
    patience: Patience
    leaving: Callable[[], bool]
    """Whether it was told to leave, as its log tells it."""


def worker_rule(
    spec: JobSpec, flat: Flat, probe: Probe | None, task: Task | None = None, brought: bytes = b""
) -> tuple[WorkerStrategy, Following | None]:
    """The strategy's worker half, which steps by the task's own optimizer if there is one, and who moves its figures.

    Raises UserError when a parameter group fits no parameter, when it compares weights and the task gives nothing to
    do so, or when it can't step by that optimizer.
    """

    def own(rule: WorkerStrategy) -> Following | None:
        return None if task is None else equip(rule, task, spec, flat, brought=brought)

    return fitted(spec, flat.layout, own, lambda: _judge_by(spec, flat, probe))


def _judge_by(spec: JobSpec, flat: Flat, probe: Probe | None) -> Callable[[Tensor], float]:
    if probe is None:
        raise UserError(
            f"spec.algorithm.name: {spec.algorithm['name']} compares weights by the loss of a Task, which a script with"
            " its own loop does not have; allowed: an entrypoint module:callable that returns one"
        )
    return lambda weights: probe.loss(flat, flat.device, weights)


def overlapped(spec: JobSpec, rule: WorkerStrategy, flat: Flat, shards: int, *, attacks: bool) -> bool:
    """Whether pushes may leave during backward: they are the raw gradient, and nothing else has to wait for it."""
    if halves(spec).server().whole:  # of which nothing is applied before the last chunk
        return False
    plain = spec.exchange.overlap and spec.optimizer.clip_norm is None and not attacks
    if not plain or not rule.raw or overlaps(spec, rule) or stages_of(spec) > 1:
        return False
    return worthwhile(flat.size, shards)


@dataclass(frozen=True, slots=True)
class Parts:
    """What decides and what holds the vectors, without a way to any server."""

    core: WorkerCore
    vectors: FlatVectors
    overlap: Overlap | None
    """Pushes leave while their gradient is computed."""


def parts_of(
    spec: JobSpec, index: int, flat: Flat, about: About, rule: WorkerStrategy, push: Staging, pulled: Staging, *,
    observer: Observer | None = None, leaving: Callable[[], bool],
) -> Parts:  # fmt: skip
    """Those of worker `index`, whose vectors pass through the staging memory `push` and `pulled`."""
    attack, shards = attack_of(spec, index), spec.parameter_server.shards
    vectors = FlatVectors(flat, push, pulled, keeps=overlaps(spec, rule))
    core = WorkerCore(
        spec, rule, vectors, shards, dataset=about.dataset, attack=attack, observer=observer, leaving=leaving
    )
    early = about.announced and overlapped(spec, rule, flat, shards, attacks=attack is not None)
    return Parts(core, vectors, Overlap(flat, shards, push) if early else None)


def assemble(
    config: ProcessConfig, flat: Flat, about: About, *, leaving: Callable[[], bool] = lambda: False,
    buffers: Buffers | None = None, probe: Probe | None = None, task: Task | None = None,
    local: Sequence[LocalRule] = (),
) -> Assembled:  # fmt: skip
    """A worker that has not joined yet. `buffers`: told to the evaluator; `probe`: what weights are compared on;
    `task`: may have an optimizer of its own; `local`: how those of a script step.

    Raises UserError when the strategy can't work with this task.
    """
    spec = config.job.spec
    rule, following = worker_rule(spec, flat, probe, task, about.rule)
    if config.index == 0:
        # NB: those of the job file are said at the start, where a task has told its parameters.
        of_job = spec.optimizer if about.own_loop else Optimizer()
        for line in group_lines(of_job, about.rule, flat.layout, rule.optimizer):
            say(line)
    for half, stepping in zip(each_half(rule), local, strict=False):
        half.optimizer = stepping
    told = recorder(config.record, config.index, config.incarnation)
    patience = Patience(config.join_timeout_seconds, spec.workers.drain_seconds, leaving)
    identity = PeerIdentity(
        job=config.job.name, role="worker", index=config.index, incarnation=config.incarnation, size=flat.size,
        layout=flat.hash, dataset=about.dataset, node=config.node, guarantee=about.guarantee,
        tensors=json.dumps(flat.layout).encode(), evaluates=about.evaluates, digest=about.digest,
        own_loop=about.own_loop, rule=about.rule, edges=tuple(rule.edges),
        cuts=shard_cuts(spec, flat.layout, len(config.servers)),
    )  # fmt: skip
    spans = open_spans("asgd-worker", {"asgd.job": config.job.name, "asgd.worker": config.index}, say)
    centre = open_centre(
        config.servers, config.keys, identity, spec.codec,
        split=halves(spec).pulls_wait, patience=patience,
        lane=spec.exchange.lane, recorder=told, made=_made(spans),
    )  # fmt: skip
    meters = Meters(overlapped=overlaps(spec, rule))
    meters.spans = spans
    meters.ways = lambda: centre.ways
    if os.environ.get(Env.PROFILE):
        from asgd.worker.profiling import profile_as_told  # not needed by others

        profile_as_told(meters)
    if buffers:
        meters.heal = buffers.heal
    noted = told.leaving(leaving)
    push, pulled = _staging(flat, centre)
    parts = parts_of(spec, config.index, flat, about, rule, push, pulled, observer=meters, leaving=noted)
    parts.core.following = following
    thread = ThreadPoolExecutor(1, "exchange") if parts.core.overlapped or parts.overlap else None
    heartbeat = Heartbeat(config.servers[0], config.keys, identity)
    replica = Replica(
        parts.core, parts.vectors, centre, heartbeat, meters, thread=thread, overlap=parts.overlap
    )
    heartbeat.report = lambda: _report(replica, buffers)
    return Assembled(replica, told, patience, noted)


def _made(spans: Spans | None) -> Callable[..., Centre]:
    if spans is None:
        return Centre
    from asgd.worker.sending.traced import TracedCentre  # its library is loaded by those alone who are traced

    return partial(TracedCentre, spans=spans)


def _staging(flat: Flat, centre: Centre) -> tuple[Staging, Staging]:
    """For pushes and for pulls; servers of this machine share it."""
    shared = centre.segment
    push = Staging(flat.size, flat.device, shared.push if shared else None)
    return push, Staging(flat.size, flat.device, shared.pull if shared else None)


def _report(replica: Replica, buffers: Buffers | None) -> WorkerReport:
    report = replica.meters.report()
    if buffers:
        every = replica.heartbeat.heard.every_seconds
        report.buffers = buffers.report(replica.core.steps, every, replica.closing)
    return report
