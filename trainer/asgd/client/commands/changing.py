"""`scale`, `suspend`, `resume`, `stop`, `restart` and `delete`: one patch each, said as kubectl says it."""

from __future__ import annotations

import argparse
import sys

from asgd.client.access import KIND, Access, Document
from asgd.client.commands.base import Arguments, Commands, add, add_job, count, refuse
from asgd.client.documents import (
    ROLES,
    ended,
    index_of,
    keeps_checkpoints,
    label_of,
    name_of,
    part,
    role_of,
    suspended,
)
from asgd.client.shard import Shard
from asgd.client.show.listing import full_name
from asgd.client.waiting import Wait, end_of


def add_commands(commands: Commands) -> None:
    scale = add(commands, "scale", _scale, "set how many workers a job has, while it runs")
    add_job(scale)
    scale.add_argument("workers", nargs="?", type=count, metavar="N", help="as --replicas")
    scale.add_argument("--replicas", type=count, metavar="N", help="how many workers there shall be")

    suspend = add(
        commands, "suspend", _suspend, "save a checkpoint and remove a job's pods", epilog="`resume` goes on."
    )
    add_job(suspend)
    _add_wait(suspend, "until it has no pods")

    resume = add(commands, "resume", _resume, "go on with a suspended job")
    add_job(resume)
    _add_wait(resume, "until it trains")

    stop = add(
        commands,
        "stop",
        _stop,
        "end a job well, with what it has reached",
        "Ends a job well: workers finish their push, then come the last checkpoint and evaluation, and it is Complete.",
        epilog="It sets stopAfter.updates to what is reached; shard 0 hears of it within seconds.",
    )
    add_job(stop)
    _add_wait(stop, "until it is complete")

    restart = add(
        commands,
        "restart",
        _restart,
        "replace one worker (or server) by a new pod; costs none of the job's backoff limit",
    )
    add_job(restart)
    restart.add_argument("index", type=count, metavar="N", help="its number, as `top` shows it")
    restart.add_argument("--role", choices=ROLES, default="worker", help="default: worker")

    delete = add(
        commands, "delete", _delete, "delete a job with its pods; checkpoints on a claim or in a bucket stay"
    )
    add_job(delete)


def _add_wait(command: argparse.ArgumentParser, until: str) -> None:
    command.add_argument("--wait", action="store_true", help=f"return when that is done: {until}")


def _scale(access: Access, arguments: Arguments) -> int:
    given = [each for each in (arguments.workers, arguments.replicas) if each is not None]
    if len(given) != 1:
        raise refuse("say how many workers: kubectl asgd scale JOB N")
    job = access.job(arguments.name)
    workers = job["spec"].get("workers") or {}
    most, wanted = workers.get("maxReplicas"), given[0]
    if most is not None and wanted > most:
        raise refuse(
            f"{wanted} workers are more than spec.workers.maxReplicas of {arguments.name}, {most}; raise that first, it"
            " may change while the job runs"
        )
    if (rule := workers.get("autoscale")) and not suspended(job):
        raise refuse(
            f"the number of workers of {arguments.name} is set by workers.autoscale, {rule['min']} to {rule['max']}:"
            " edit its min and max, or take it out; both may change while the job runs"
        )
    access.scale(arguments.name, wanted)
    print(f"{full_name(job)} scaled from {workers.get('replicas')} to {wanted} workers")
    if ended(job):
        _warn(f"{arguments.name} has ended already ({ended(job)}): nothing will start")
    elif suspended(job):
        _warn(f"{arguments.name} is suspended: they will start when it is resumed")
    return 0


def _suspend(access: Access, arguments: Arguments) -> int:
    return _set_suspended(access, arguments, suspend=True)


def _resume(access: Access, arguments: Arguments) -> int:
    return _set_suspended(access, arguments, suspend=False)


def _set_suspended(access: Access, arguments: Arguments, *, suspend: bool) -> int:
    job = access.job(arguments.name)
    word = "suspended" if suspend else "resumed"
    if ended(job):
        raise refuse(f"{arguments.name} has ended already ({ended(job)}): it cannot be {word}")
    if suspended(job) == suspend:
        print(f"{full_name(job)} {word} (no change)")
    else:
        access.patch(KIND, arguments.name, {"spec": {"runPolicy": {"suspend": suspend}}})
        print(f"{full_name(job)} {word}")
    if suspend and not keeps_checkpoints(job):
        _warn(
            f"{arguments.name} has no spec.checkpoint.uri: its checkpoints go with its pods, and a resume starts over"
        )
    if arguments.wait:
        return Wait(access, arguments.name).until("Suspended" if suspend else "Running")
    return 0


def _stop(access: Access, arguments: Arguments) -> int:
    job = access.job(arguments.name)
    if ended(job):
        print(f"{full_name(job)} has ended already ({ended(job)})")
        return 0
    if suspended(job):
        raise refuse(
            f"{arguments.name} is suspended and does not train: resume it first, or delete it; its checkpoint"
            f" ({part(job, 'status', 'checkpoint', 'lastUri') or 'none yet'}) holds what was reached"
        )
    reached = stop_at(access, job)
    print(
        f"{full_name(job)} ends with what it has reached, {reached:,} updates, as soon as its pods hear of it"
    )
    if arguments.wait:
        return end_of(Wait(access, arguments.name))
    return 0


def stop_at(access: Access, job: Document) -> int:
    """Makes what is reached the stop rule; returns its updates. Other rules stay, for the first one counts."""
    told = Shard(access, job).ask()
    updates = told.updates if told else part(job, "status", "training", "updates")
    reached = max(1, int(updates or 0))
    access.patch(KIND, name_of(job), {"spec": {"stopAfter": {"updates": reached}}})
    return reached


def _restart(access: Access, arguments: Arguments) -> int:
    job = access.job(arguments.name)
    pods = [pod for pod in access.pods(arguments.name, arguments.role) if not _over(pod)]
    found = [pod for pod in pods if index_of(pod) == arguments.index]
    if not found:
        known = ", ".join(sorted({label_of(pod) for pod in pods}))
        there = f"has {known}" if known else f"is {part(job, 'status', 'phase')}"
        raise refuse(f"{arguments.name} has no {arguments.role} {arguments.index} that runs; it {there}")
    for pod in found:
        access.delete("Pod", name_of(pod), uid=pod["metadata"]["uid"])
        print(f"{full_name(pod)} deleted: a new {role_of(pod)} takes its place")
    return 0


def _over(pod: Document) -> bool:
    return part(pod, "status", "phase") in ("Succeeded", "Failed") or bool(
        part(pod, "metadata", "deletionTimestamp")
    )


def _delete(access: Access, arguments: Arguments) -> int:
    job = access.job(arguments.name)
    access.delete(KIND, arguments.name, uid=job["metadata"]["uid"])
    print(f"{full_name(job)} deleted")
    return 0


def _warn(sentence: str) -> None:
    print(f"Warning: {sentence}", file=sys.stderr)
