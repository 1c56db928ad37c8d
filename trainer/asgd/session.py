"""`asgd.connect()`: the same worker for people who keep their own training loop.

    import asgd                                         # 1
    optimizer = torch.optim.AdamW(groups, lr=1e-3)
    optimizer = asgd.connect(model, optimizer)          # 2
    for images, labels in optimizer.until_stopped(loader):  # 3  was: in loader
        optimizer.zero_grad()
        loss = ...
        loss.backward()
        optimizer.step(loss=loss)                       # 4  was: optimizer.step()

The script runs under `asgd run` with `entrypoint: train.py`, once in each worker. Its loader's batches are dealt out,
so that an epoch is one of the job. The optimizer stays the script's: its rule runs on the servers where they have it,
else in each worker. With `asgd.connect(model)` the job file sets it (`spec.optimizer`).
"""

from __future__ import annotations

import atexit
import fnmatch
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, overload

import torch
from msgspec import structs
from torch import nn

from asgd.errors import UserError
from asgd.host.allocator import keep_freed_memory
from asgd.host.env import ProcessConfig, read_config
from asgd.host.exporter import Exporter, Views
from asgd.spec.environment import Env
from asgd.spec.groups import largest_decay
from asgd.spec.types import Optimizer
from asgd.wire.ask import Asker
from asgd.wire.rule import pack, with_rule
from asgd.worker import joined
from asgd.worker.assemble import About, assemble
from asgd.worker.device.accelerator import choose_device, limit_threads
from asgd.worker.device.flat import Flat, Share, plain
from asgd.worker.optimizing.handed import Handed, Stepping, of_script, take_over
from asgd.worker.own.connection import Connection, Joining, Stopped
from asgd.worker.own.models import Joint, Models, Together
from asgd.worker.own.several import check_models, handed_over, rules_of_job, together
from asgd.worker.own.start import has_been_trained
from asgd.worker.process import catch_term
from asgd.worker.reading.data import seed_worker, worker_environment
from asgd.worker.sending.asked import AskedLeases
from asgd.worker.sending.leases import Leases
from asgd.worker.task.agreeing import digest_of_model

__all__ = ["Connection", "Stopped", "connect"]
GUARANTEE = "no promise for each sample: every worker runs its own loop (asgd.connect)"


@overload
def connect(
    model: nn.Module, optimizer: torch.optim.Optimizer | None = None, *, unfreezes: Sequence[str] = ()
) -> Connection: ...


@overload
def connect(
    model: Mapping[str, nn.Module], optimizer: Mapping[str, torch.optim.Optimizer] | None = None, *,
    unfreezes: Sequence[str] = (),
) -> Models: ...  # fmt: skip


def connect(
    model: nn.Module | Mapping[str, nn.Module],
    optimizer: torch.optim.Optimizer | Mapping[str, torch.optim.Optimizer] | None = None,
    *,
    unfreezes: Sequence[str] = (),
) -> Connection | Models:
    """Joins `model` to the job that this process is a worker of; what comes back takes the optimizer's place.

    `optimizer`: the script's own, over parameters of the model. Its class, groups and schedulers are kept, and its
    groups and state are those of what comes back; without one `spec.optimizer` is the job's. Several models by name
    ({"generator": g, "critic": c}), and their optimizers by the same names or none, have steps of their own: `Models`
    comes back, which has the optimizer of each by its name.

    Parameters become views of one flat vector and stay on their device. What the script writes into them before
    their first use is what a new job starts from; a job that has been trained already gives its own weights here.
    `unfreezes`: patterns (`"backbone.*"`) of parameters that are frozen now and trained later. From here on random
    numbers differ from worker to worker, so that each draws its own. Raises UserError outside `asgd run` and pods, or
    when model or optimizer do not fit the job; TryAgain when no server answers.
    """
    if joined.connection is not None:
        raise UserError(
            "asgd.connect(): called twice; a worker connects once: several models together, as"
            ' asgd.connect({"generator": g, "critic": c}, optimizers)'
        )
    if not os.environ.get(Env.JOB):
        raise UserError(
            "asgd.connect(): this process is no worker of a job; start the script by `asgd run JOB.yaml` whose"
            " spec.entrypoint names it"
        )
    config = read_config()
    limit_threads(config.job.spec)
    keep_freed_memory()
    os.environ.update(worker_environment(config.job.spec, config.index))
    if isinstance(model, Mapping):
        check_models(model, optimizer, config.job.spec)
    joining = _join(config, model, optimizer, unfreezes)
    joined.connection = connection = joining.connection
    atexit.register(connection.close)
    if has_been_trained(joining.asker, config.join_timeout_seconds):
        connection.join()
    seed_worker(config.job.spec.seed, config.index)
    return connection


@dataclass(frozen=True, slots=True)
class _Opened:
    connection: Connection | Models
    asker: Asker


def _join(config: ProcessConfig, given: Any, optimizer: Any, unfreezes: Sequence[str]) -> _Opened:
    several = isinstance(given, Mapping)
    model = Together(given) if several else given
    device = next((p.device for p in model.parameters()), None)
    spec, leaving = config.job.spec, catch_term()
    optimizers = (
        list(optimizer.values())
        if isinstance(optimizer, Mapping)
        else [optimizer]
        if optimizer is not None
        else []
    )
    later = named(model, unfreezes, decay_of_frozen(spec.optimizer, model, optimizers))
    flat = Flat(model, device or choose_device(spec.workers.devices.count, config.index), later)
    shares = {name: Share(flat, name) for name in given} if several else {}
    handed, rule = _rules(config, given, optimizer, flat, shares)
    spec = with_rule(spec, rule)
    config = replace(config, job=structs.replace(config.job, spec=spec))
    about = About(dataset=None, guarantee=GUARANTEE, own_loop=True, digest=digest_of_model(model), rule=rule)
    spans = [share.span for share in shares.values()] or [slice(None)]
    steppings = [
        Stepping(own.optimizer, flat.grads[span] if several else flat.grads)
        for own, span in zip(handed, spans, strict=False)
        if not own.on_servers
    ]
    parts = assemble(config, flat, about, leaving=lambda: bool(leaving), local=steppings)
    replica, asker = parts.replica, Asker(config.servers[0], config.keys)
    exporter = Exporter(config.metrics, Views(collect=replica.meters.collect))
    config.announce_address("worker", exporter.address)
    leases = Leases(config.index, config.incarnation, replica.centre.channels[0])
    joining = Joining(config.index, config.incarnation, spec, asker, leases, exporter, config.extras, handed)
    leasing = AskedLeases(leases, asker, parts.patience)
    if isinstance(model, Together):
        joint = Joint(model, flat, shares, handed)
        return _Opened(Models(joining, replica, joint, leasing, leaving), asker)
    return _Opened(Connection(joining, replica, model, flat, leasing, leaving), asker)


def _rules(
    config: ProcessConfig, given: Any, optimizer: Any, flat: Flat, shares: Mapping[str, Share]
) -> tuple[list[Handed], bytes]:
    """The script's optimizers in this job, and what the servers are told of them; nothing for `spec.optimizer`."""
    if shares:
        handed = handed_over(optimizer, given, shares, flat, config.job) if optimizer is not None else []
        rules = [own.rule for own in handed] or rules_of_job(config.job.spec.optimizer, shares)
        return handed, pack(together(rules, shares))
    if optimizer is None:
        return [], b""
    own = take_over(optimizer, given, flat, config.job)
    return [own], pack(own.rule)


def decay_of_frozen(
    of_job: Optimizer, model: nn.Module, optimizers: Sequence[torch.optim.Optimizer] | None
) -> float:
    """The largest weight decay that frozen parameters would get once they are part of what is trained."""
    if not optimizers:
        frozen = (plain(name) for name, parameter in model.named_parameters() if not parameter.requires_grad)
        return largest_decay(of_job, frozen)
    groups = [group for optimizer in optimizers for group in of_script(optimizer).param_groups]
    resting = [group for group in groups if not all(p.requires_grad for p in group["params"])]
    return max((float(group.get("weight_decay") or 0) for group in resting), default=0.0)


def named(model: nn.Module, unfreezes: Sequence[str], weight_decay: float) -> set[str]:
    """The frozen parameters that the patterns name. Raises UserError when one names none, or they would be moved."""
    frozen = [plain(name) for name, parameter in model.named_parameters() if not parameter.requires_grad]
    every = [plain(name) for name, _ in model.named_parameters()]
    found: set[str] = set()
    for pattern in [unfreezes] if isinstance(unfreezes, str) else unfreezes:
        if not fnmatch.filter(every, pattern):
            raise UserError(
                f"asgd.connect(unfreezes=...): {pattern!r} names no parameter of the model; it has"
                f" {', '.join(every[:5])}{' and more' if len(every) > 5 else ''}"
            )
        found.update(fnmatch.filter(frozen, pattern))
    if found and weight_decay:
        raise UserError(
            f"asgd.connect(unfreezes=...): weight decay {weight_decay:g} (spec.optimizer.weightDecay, or the script's)"
            f" would shrink {min(found)} while it is frozen; allowed: 0"
        )
    return found
