"""`asgd worker`: builds the user's task, joins the job, trains until told to stop. Exit codes in `exitcodes.py`."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

from msgspec import structs

from asgd import exitcodes
from asgd.errors import AsgdError, TryAgain
from asgd.host.allocator import keep_freed_memory
from asgd.host.env import ProcessConfig, read_config
from asgd.host.exporter import Exporter, Views
from asgd.host.say import say
from asgd.host.warned import tell_warnings
from asgd.record import pods
from asgd.spec.evaluators import is_script
from asgd.task import Task
from asgd.wire.ask import Asker
from asgd.wire.rule import with_rule
from asgd.worker.assemble import Assembled, assemble
from asgd.worker.compute import Computation, refuse_stages_of_script
from asgd.worker.device.accelerator import limit_threads
from asgd.worker.device.buffers import Buffers
from asgd.worker.device.extras import leave_extras
from asgd.worker.device.modes import start_training
from asgd.worker.failing import tell
from asgd.worker.granting import Reading
from asgd.worker.keeping import Keeping
from asgd.worker.kept_afar import Afar, object_store
from asgd.worker.optimizing.of_task import rule_of
from asgd.worker.optimizing.stepping import TaskOptimizer
from asgd.worker.prepared import prepared
from asgd.worker.reading.data import dataset_size, next_lease, open_batches, worker_environment
from asgd.worker.replica import Replica
from asgd.worker.sending.asked import AskedLeases
from asgd.worker.sending.leases import Leases
from asgd.worker.task.build import build_task
from asgd.worker.task.calling import Calling, silent
from asgd.worker.told import Told

OWN_STATE_SECONDS = 60.0
"""How often a worker writes down its own optimizer's state where checkpoints come by updates or epochs."""


def main() -> int:
    """Runs one worker as its environment says. Raises UserError, TryAgain."""
    config = read_config()
    tell_warnings()
    threads = limit_threads(config.job.spec)
    pods.leave_process(config.record, config.index, config.incarnation, threads)
    keep_freed_memory()
    os.environ.update(worker_environment(config.job.spec, config.index))
    if is_script(config.job.spec.entrypoint):
        from asgd.worker.task.script import run_script

        refuse_stages_of_script(config.job.spec)
        return run_script(config)
    leaving = catch_term()
    return work(config, build_task(config.job.spec), leaving)


def work(config: ProcessConfig, task: Task, leaving: list[int]) -> int:
    """The life of the worker that `config` describes; returns its exit code. `leaving`: gets an element to end it.

    Raises UserError, TryAgain, and what users' code raises.
    """
    rule = rule_of(task, config.job.spec, config.job.document)
    spec = with_rule(config.job.spec, rule)
    config = replace(config, job=structs.replace(config.job, spec=spec))
    for line in silent(task) if config.index == 0 else []:
        say(line)
    computation, about, probe = prepared(task, spec, config.index, rule)
    told = task.evaluate is not None and spec.buffers != "recompute"
    parts = assemble(
        config, computation.flat, about, leaving=lambda: bool(leaving),
        buffers=Buffers(task.model) if told else None, probe=probe, task=task,
    )  # fmt: skip
    parts.replica.meters.beside = computation.scalars
    exporter = Exporter(config.metrics, Views(collect=parts.replica.meters.collect))
    config.announce_address("worker", exporter.address)
    asker = Asker(config.servers[0], config.keys)
    try:
        reason = _live(config, task, parts, computation, asker, leaving)
    except TryAgain as error:
        if not leaving:
            raise
        say(f"worker {config.index} leaves: {error}")
        return exitcodes.DRAINED
    except AsgdError:
        raise
    except (Exception, SystemExit) as error:
        # Users' code may raise anything.
        tell(error, spec.entrypoint, config.index, config.incarnation, parts.replica.core, asker)
        raise
    finally:
        parts.replica.fail("this worker has ended")
        computation.close()
        asker.close()
        exporter.close()
    ended = reason or ("told to leave" if leaving else "no more data")
    say(f"worker {config.index} ends after {parts.replica.meters.steps:,} steps: {ended}")
    return exit_code(reason, bool(leaving))


def _live(
    config: ProcessConfig,
    task: Task,
    parts: Assembled,
    computation: Computation,
    asker: Asker,
    leaving: list[int],
) -> str:
    """Joins, trains and leaves; returns why the job is over, '' where it goes on without this worker."""
    replica, index = parts.replica, config.index
    told = Told(
        config, Calling(task, computation.flat), replica, dataset_size(task, config.job.spec.entrypoint)
    )
    reason = replica.join()
    lanes = ", ".join(sorted(set(replica.centre.ways)))
    joined = f"joined, {replica.vectors.size:,} parameters on {computation.where}, lanes {lanes}"
    say(f"worker {index} of job {config.job.name}: {joined}")
    keeping = keeping_of(config, replica)
    if not reason:
        leases = Leases(index, config.incarnation, replica.centre.channels[0])
        leasing = parts.recorder.leases(AskedLeases(leases, asker, parts.patience))
        replica.core.holds = leasing.holds
        asks = next_lease(leasing, lambda: bool(replica.stop) or parts.leaving())
        batches = open_batches(task, config.job.spec, index, asks)
        replica.reading = Reading(
            batches, keeping.between(computation.gradient) if keeping else computation.gradient
        )
        if resting := start_training(task.model):
            names = ", ".join(name or "the model" for name in resting[:3])
            more = f" and {len(resting) - 3} more" if len(resting) > 3 else ""
            say(f"worker {index}: stays in evaluation mode, as the entrypoint left it: {names}{more}")
        told.start()
        reason = replica.live(replica.core.train())
        if keeping:
            keeping.save()
    if reason or not leaving:
        core = replica.core
        leave_extras(task.model, computation.flat, config.extras, index, core.steps, core.samples)
    replica.close("drained" if leaving else reason)
    if keeping:
        keeping.close(config.job.spec.workers.drain_seconds / 10 if leaving else None)
    told.end("drained" if leaving and not reason else reason)
    return reason


def keeping_of(config: ProcessConfig, replica: Replica) -> Keeping | None:
    """Where the worker's own optimizer is kept, if it has one; says which one it is, and what it remembers."""
    optimizer = replica.core.rule.optimizer
    if not isinstance(optimizer, TaskOptimizer):
        return None
    index, told, uri = config.index, "", config.job.spec.checkpoint.uri
    keeping = None
    afar = Afar(uri, index) if not config.state and object_store(uri) else None
    if folder := afar.folder if afar else config.state:
        log = config.record / f"worker-{index}-{config.incarnation}.pt" if config.record else None
        every = config.job.spec.checkpoint.seconds or OWN_STATE_SECONDS
        keeping = Keeping(folder, index, optimizer, replica.vectors.flat, every, log, afar)
        told = keeping.restore()
    say(f"worker {index}: steps by {optimizer}{told and '; '}{told}")
    return keeping


def catch_term() -> list[int]:
    """A list that gets an element on SIGTERM: the step and the push in flight are finished first.

    Ctrl-C means the same to a worker that was started by hand; that of `asgd run` reaches its parent alone.
    """
    caught: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda number, frame: caught.append(number))
    return caught


def exit_code(reason: str, leaving: bool) -> int:
    """What a worker's end means to whoever restarts it."""
    if reason == "diverged":
        return exitcodes.DIVERGED
    return exitcodes.DRAINED if leaving and not reason else exitcodes.DONE
