"""`asgd worker`: builds the user's task, joins the job, trains until told to stop. Exit codes in `exitcodes.py`."""

from __future__ import annotations

import os
import signal

from asgd import exitcodes
from asgd.host.allocator import keep_freed_memory
from asgd.host.env import read_config
from asgd.host.exporter import Exporter, Views
from asgd.host.say import say
from asgd.worker.device.accelerator import limit_threads
from asgd.worker.device.buffers import Buffers
from asgd.worker.device.compute import prepare, refuse_stages_of_script
from asgd.worker.loop import train
from asgd.worker.reading.data import dataset_size, guarantee, worker_environment
from asgd.worker.reading.leases import Leases
from asgd.worker.replica import Replica
from asgd.worker.task.build import build_task
from asgd.worker.task.entrypoint import is_script
from asgd.worker.task.probing import take_probe


def main() -> int:
    """Runs one worker as its environment says. Raises UserError, TryAgain."""
    config = read_config()
    limit_threads()
    keep_freed_memory()
    os.environ.update(worker_environment(config.job.spec, config.index))
    if is_script(config.job.spec.entrypoint):
        from asgd.worker.task.script import run_script

        refuse_stages_of_script(config.job.spec)
        return run_script(config)
    leaving = catch_term()
    task = build_task(config.job.spec)
    probe = take_probe(task, config.job.spec)
    computation = prepare(task, config.job.spec, config.index)
    replica = Replica(
        config, task.model, dataset_size(task, config.job.spec.entrypoint), guarantee(task),
        flat=computation.flat,
        buffers=Buffers(task.model) if task.evaluate and config.job.spec.buffers != "recompute" else None,
        probe=probe, evaluates=task.evaluate is not None, announced=True,
    )  # fmt: skip
    exporter = Exporter(config.metrics, Views(collect=replica.meters.collect))
    config.announce_address("worker", exporter.address)
    reason = replica.join()
    lanes = ", ".join(sorted(set(replica.centre.ways)))
    joined = f"joined, {replica.flat.size:,} parameters on {computation.where}, lanes {lanes}"
    say(f"worker {config.index} of job {config.job.name}: {joined}")
    leases = Leases(config, replica.centre.channels[0])
    if not reason:
        told = replica.recorder
        left = told.leaving(lambda: bool(leaving))
        reason = train(task, replica, told.leases(leases), left, computation.gradient)
    computation.close()
    replica.close("drained" if leaving else reason)
    leases.close()
    exporter.close()
    ended = reason or ("told to leave" if leaving else "no more data")
    say(f"worker {config.index} ends after {replica.meters.steps:,} steps: {ended}")
    return exit_code(reason, bool(leaving))


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
