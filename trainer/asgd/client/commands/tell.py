"""`logs`: of all pods of a job, or of some."""

from __future__ import annotations

from asgd.client.access import Access
from asgd.client.commands.base import Arguments, Commands, add, add_job, count, refuse, seconds
from asgd.client.documents import ROLES, ended, label_of, part
from asgd.client.logs import Choice, Following, chosen, read


def add_commands(commands: Commands) -> None:
    logs = add(commands, "logs", _logs, "print the logs of a job's pods, each line with who said it")
    add_job(logs)
    logs.add_argument(
        "-f", "--follow", action="store_true", help="go on until the job's end, with pods that come later"
    )
    which = logs.add_mutually_exclusive_group()
    which.add_argument("--role", choices=ROLES, default="", help="only these pods")
    which.add_argument("--worker", type=count, metavar="N", help="only this worker")
    logs.add_argument(
        "-p", "--previous", action="store_true", help="of the containers before their last restart"
    )
    logs.add_argument("--tail", type=count, metavar="N", help="the last N lines of each pod (default: all)")
    logs.add_argument("--since", type=seconds, metavar="TIME", help="what is newer than this, as 5m")
    logs.add_argument("--timestamps", action="store_true", help="with the time of each line")


def _logs(access: Access, arguments: Arguments) -> int:
    choice = Choice(
        arguments.role,
        arguments.worker,
        arguments.previous,
        arguments.tail,
        None if arguments.since is None else max(1, round(arguments.since)),
        arguments.timestamps,
    )
    job = access.job(arguments.name)
    if arguments.follow:
        for line in Following(
            access, arguments.name, choice, lambda: bool(ended(access.job(arguments.name)))
        ).lines():
            print(line, flush=True)
        return 0
    pods = access.pods(arguments.name)
    found = chosen(pods, choice)
    if not found:
        there = ", ".join(sorted({label_of(pod) for pod in pods}))
        phase = part(job, "status", "phase") or "not seen by an operator yet"
        raise refuse(
            f"{arguments.name} has no such pod with a log; it is {phase}"
            + (f" and has {there}" if there else "")
        )
    for line in read(access, found, choice):
        print(line)
    return 0
