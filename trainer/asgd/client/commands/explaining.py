"""`explain`: why is my job not running, slow or failed."""

from __future__ import annotations

import json
from collections.abc import Callable

from asgd.client.access import Access, Document
from asgd.client.commands.base import Arguments, Commands, add, add_format, add_job, now
from asgd.client.explain import Kind, explain
from asgd.client.explain.gathering import gather
from asgd.client.explain.printed import document, lines
from asgd.client.shard import Shard
from asgd.spec.status import Status


def add_commands(commands: Commands) -> None:
    command = add(
        commands,
        "explain",
        _explain,
        "say why a job is not running, slow or failed: one sentence and the fix",
        epilog="It reads the job, its pods, their events and logs, and shard 0, and changes nothing.",
    )
    add_job(command)
    add_format(command, "json")


def _explain(access: Access, arguments: Arguments) -> int:
    def shard_of(job: Document) -> Callable[[], Status | None]:
        return Shard(access, job).ask

    found = explain(gather(access, arguments.name, shard_of), now())
    print(json.dumps(document(found), indent=2) if arguments.output else "\n".join(lines(found)))
    return 1 if found.kind in (Kind.NO_JOB, Kind.NO_KIND) else 0
