"""`list`, `status`, `top` and `events`: what is there, printed once or again and again."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence

from asgd.client.access import Access, Document
from asgd.client.commands.base import Arguments, Commands, add, add_format, add_job, now, seconds
from asgd.client.documents import ended, part
from asgd.client.errors import ApiError
from asgd.client.shard import Shard
from asgd.client.show import events as shown_events
from asgd.client.show import listing, page, top
from asgd.spec.status import Status

_WATCH_SECONDS = 2.0
_CLEAR = "\x1b[H\x1b[2J"


def add_commands(commands: Commands) -> None:
    of_list = add(
        commands, "list", _list, "list jobs", "Lists the jobs of a namespace, or those that are named."
    )
    add_job(of_list, many=True)
    of_list.add_argument("-A", "--all-namespaces", action="store_true", help="of the whole cluster")
    of_list.add_argument(
        "-l", "--selector", default="", metavar="LABELS", help="only those with these labels"
    )
    of_list.add_argument("--no-headers", action="store_true", help="only the rows")
    add_format(of_list, *listing.FORMATS)

    status = add(commands, "status", _status, "show one job on one page: figures, conditions, pods, events")
    add_job(status)
    add_format(status, "json", "yaml")
    _add_watch(status)

    of_top = add(
        commands,
        "top",
        _top,
        "show each worker and shard: state, rate, staleness",
        "Shows each worker and each shard as shard 0 tells of them.",
        epilog="STEP and EXCHANGE are medians; STALENESS is the mean of a worker's accepted pushes on shard 0.",
    )
    add_job(of_top)
    of_top.add_argument("--sort-by", choices=tuple(top.SORTS), default="index", help="default: index")
    of_top.add_argument("--gone", action="store_true", help="workers that have left or were lost, too")
    add_format(of_top, "json", "yaml")
    _add_watch(of_top)

    events = add(commands, "events", _events, "list events of a job, its pods and other children")
    add_job(events)
    events.add_argument(
        "-w", "--watch", action="store_true", help="new ones as they come, until the job's end"
    )
    events.add_argument("--no-headers", action="store_true", help="only the rows")
    add_format(events, "json", "yaml")


def _add_watch(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "-w", "--watch", action="store_true", help="again and again, until Ctrl-C or the job's end"
    )
    command.add_argument(
        "--interval", type=seconds, default=_WATCH_SECONDS, metavar="TIME", help="default: 2s"
    )


def _list(access: Access, arguments: Arguments) -> int:
    if arguments.names:
        jobs = [access.job(name) for name in arguments.names]
    else:
        jobs = access.jobs(labels=arguments.selector, everywhere=arguments.all_namespaces)
    if arguments.output in ("json", "yaml", "name"):
        _print_as(arguments.output, jobs, many=not arguments.names)
    elif jobs:
        print(
            listing.listing(
                jobs,
                now(),
                wide=arguments.output == "wide",
                namespaces=arguments.all_namespaces,
                head=not arguments.no_headers,
            )
        )
    else:
        place = "" if arguments.all_namespaces else f" in {access.namespace} namespace"
        print(f"No resources found{place}.", file=sys.stderr)
    return 0


def _print_as(form: str, documents: Sequence[Document], *, many: bool) -> None:
    if form == "name":
        print(listing.as_names(documents))
    else:
        print((listing.as_json if form == "json" else listing.as_yaml)(documents, many=many))


def children(access: Access, name: str) -> list[Document]:
    """Pods and workloads of a job; those that this user may not list are left out."""
    found: list[Document] = []
    for kind in ("Pod", "Job", "StatefulSet"):
        try:
            found += access.select(kind, labels=f"asgd.dev/job-name={name}")
        except ApiError:
            continue
    return found


def _status(access: Access, arguments: Arguments) -> int:
    def shown() -> tuple[str, bool]:
        job = access.job(arguments.name)
        if arguments.output:
            form = listing.as_json if arguments.output == "json" else listing.as_yaml
            return form([job], many=False), bool(ended(job))
        of_job = children(access, arguments.name)
        pods = [each for each in of_job if each["kind"] == "Pod"]
        events = shown_events.of_job(access.events(), job, of_job)
        told = None if ended(job) else Shard(access, job).ask()
        return page.page(job, pods, events, told, now()), bool(ended(job))

    return _again(shown, arguments)


def _top(access: Access, arguments: Arguments) -> int:
    shard = Shard(access, access.job(arguments.name))

    def shown() -> tuple[str, bool]:
        told = shard.ask()
        if told is not None:
            return _top_of(told, arguments), told.phase == "finished"
        job = access.job(arguments.name)
        phase = part(job, "status", "phase") or "not seen by an operator yet"
        print(f"shard 0 cannot be asked, {arguments.name} is {phase}: {shard.why}", file=sys.stderr)
        return top.from_job(job), bool(ended(job))

    return _again(shown, arguments)


def _top_of(told: Status, arguments: Arguments) -> str:
    import msgspec

    if not arguments.output:
        return top.top(told, sort=arguments.sort_by, gone=arguments.gone)
    text = msgspec.json.encode(told)
    if arguments.output == "json":
        return msgspec.json.format(text, indent=4).decode()
    return listing.dumped(msgspec.json.decode(text))


def _events(access: Access, arguments: Arguments) -> int:
    seen: set[str] = set()
    head = not arguments.no_headers
    while True:
        job = access.job(arguments.name)
        found = shown_events.of_job(access.events(), job, children(access, arguments.name))
        if arguments.output:
            _print_as(arguments.output, found, many=True)
            return 0
        fresh = [each for each in found if each["metadata"]["uid"] + str(each.get("count")) not in seen]
        seen |= {each["metadata"]["uid"] + str(each.get("count")) for each in found}
        if fresh:
            print(shown_events.events_table(fresh, now(), head=head), flush=True)
            head = False
        elif head and not arguments.watch:
            print(f"No events found in {access.namespace} namespace.", file=sys.stderr)
        if not arguments.watch or ended(job):
            return 0
        time.sleep(_WATCH_SECONDS)


def _again(shown: Callable[[], tuple[str, bool]], arguments: Arguments) -> int:
    """Prints what `shown()` gives, with --watch again and again: a terminal shows the newest alone."""
    while True:
        text, over = shown()
        clear = _CLEAR if arguments.watch and sys.stdout.isatty() else ""
        print(f"{clear}{text}", flush=True)
        if not arguments.watch or over:
            return 0
        time.sleep(arguments.interval)
        if not clear:
            print()
