"""The `asgd` command. Starts in a fraction of a second: each subcommand imports only what it needs."""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from asgd import __version__, exitcodes
from asgd.commands import options
from asgd.errors import AsgdError, UserError
from asgd.host import commands as others
from asgd.page import DEFAULT as PAGE
from asgd.standing import folder_gone

if TYPE_CHECKING:
    from asgd.drivers.display import MakeDisplay

_RUNS_USERS_CODE = ("worker", "evaluate", "replay", "simulate")
"""Commands that do so in their own process."""
_CONTAINERS = ("server", "worker", "evaluate", "page")
"""What they need is told by absolute paths."""
_Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def parser(command: str = "") -> argparse.ArgumentParser:
    """The command line. `command`: the one that is called; another distribution's options are loaded for it alone."""
    top = argparse.ArgumentParser(
        prog="asgd", description="Train PyTorch models by asynchronous SGD with sharded parameter servers."
    )
    top.add_argument("--version", action="version", version=f"asgd {__version__}")
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")

    _add_run(commands)
    _add_simulate(commands)
    _add_replay(commands)
    _add_report(commands)
    _add_open(commands)
    validate = commands.add_parser("validate", help="check job files as the API server would")
    validate.add_argument("jobs", nargs="+", metavar="JOB.yaml")
    validate.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")

    check = commands.add_parser("check", help="read every checkpoint of a store, and say which are whole")
    check.add_argument(
        "place", metavar="DIR", help="what asgd run wrote to, or a checkpoint store (a path or a URI)"
    )

    bench = commands.add_parser("bench", help="measure this and its peers side by side, ratios first")
    if command == "bench":
        others.add_arguments(bench, command, "asgd-bench")
    _add_entry_points(commands)
    return top


def _add_run(commands: _Commands) -> None:
    run = commands.add_parser("run", help="train an AsgdJob on this machine")
    run.add_argument("job", metavar="JOB.yaml", help="the same file that kubectl apply takes")
    run.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="PATH=VALUE",
        help="a field of the spec, as workers.replicas=2; may be given several times",
    )
    run.add_argument(
        "--output", metavar="DIR", help="where to leave results (default: the next free runs/NAME)"
    )
    _add_source_from(run)
    run.add_argument(
        "--profile",
        metavar="worker=N[,steps=FIRST:LAST]",
        help="torch's profiler over these steps of one worker (default: 10 to 14), into profile/ of the results",
    )
    run.add_argument("--quiet", action="store_true", help="only what matters, and the end")
    _add_page(run, f"where to serve the run's page, or off (default: {PAGE}, a free port)")
    run.add_argument(
        "--transport",
        choices=("ipc", "tcp"),
        default="ipc",
        help="between the processes: ipc, or tcp with encryption as between pods (default: ipc)",
    )


def _add_page(command: argparse.ArgumentParser, what: str) -> None:
    command.add_argument("--page", metavar="HOST:PORT", default=PAGE, help=what)


def _add_open(commands: _Commands) -> None:
    opens = commands.add_parser("open", help="look at a run, going on or over, or at all runs in a folder")
    opens.add_argument(
        "place", metavar="DIR", help="what asgd run or asgd simulate wrote to, or a folder of such"
    )
    _add_page(opens, f"where to serve what is over (default: {PAGE}, a free port)")
    opens.add_argument("--no-browser", action="store_true", help="only print the address")


def _add_source_from(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--source-from",
        metavar="DIR",
        help="the files of the ConfigMap in spec.sourceFrom, where it does not stand in JOB.yaml",
    )


def _add_simulate(commands: _Commands) -> None:
    simulate = commands.add_parser(
        "simulate", help="train an AsgdJob in virtual time, on a cluster of your making"
    )
    simulate.add_argument("job", metavar="JOB.yaml")
    simulate.add_argument("--set", action="append", default=[], metavar="PATH=VALUE")
    simulate.add_argument("--output", metavar="DIR", help="as for run")
    _add_source_from(simulate)
    simulate.add_argument("--quiet", action="store_true", help="only what matters, and the end")
    options.add_simulate(simulate)


def _add_replay(commands: _Commands) -> None:
    replay = commands.add_parser(
        "replay", help="execute a recorded run again, to the same bits, in one process"
    )
    options.add_replay(replay)


def _add_report(commands: _Commands) -> None:
    report = commands.add_parser("report", help="runs and simulations side by side: one page and one picture")
    report.add_argument("folders", nargs="+", metavar="DIR", help="what asgd run or asgd simulate wrote to")
    report.add_argument(
        "--output",
        default="report",
        metavar="FOLDER",
        help="where report.html and report.png go, and page.html of a single run (default: report)",
    )
    report.add_argument(
        "--target",
        metavar="METRIC=VALUE",
        help="what to compare the time to, as accuracy=0.95 (default: the best)",
    )


def _add_entry_points(commands: _Commands) -> None:
    """What containers run."""
    worker = commands.add_parser("worker", help="one worker of a job (a container's entry point)")
    worker.add_argument("--join", metavar="DIR", help="join the run of `asgd run` that writes to DIR")
    worker.add_argument(
        "--index", type=int, help="with --join: this worker's index (default: the next free one)"
    )
    commands.add_parser("server", help="one parameter server shard (a container's entry point)")
    commands.add_parser("evaluate", help="the evaluator of a job (a container's entry point)")
    commands.add_parser("page", help="the page of a job, beside shard 0 (a container's entry point)")


def main(argv: Sequence[str] | None = None) -> int:
    """Runs one command; returns its exit code. Errors become one line on stderr."""
    words = sys.argv[1:] if argv is None else [*argv]
    _print_everything()
    try:
        arguments = parser(*words[:1]).parse_args(words)
        if argv is None and arguments.command in _RUNS_USERS_CODE:
            from asgd.host.hashseed import settle_hash_seed  # not needed by who asks for help

            settle_hash_seed()
        if arguments.command not in _CONTAINERS and (gone := folder_gone()):
            raise UserError(gone)
        return _dispatch(arguments)
    except AsgdError as error:
        print("\n".join(f"asgd: {line}" for line in str(error).splitlines()), file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return exitcodes.INTERRUPTED


def _print_everything() -> None:
    """Where the output has no sign for a letter, its number is printed: nothing fails because of what it is called."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


def _dispatch(arguments: argparse.Namespace) -> int:
    if arguments.command == "run":
        from asgd.drivers.local.starter import Starter

        folder = Path(arguments.job).absolute().parent
        with Starter(folder) as starter:  # torch is imported while this process goes on
            from asgd.drivers.local import run as local
            from asgd.spec import load_job, with_files

            job = with_files(load_job(arguments.job, arguments.set), arguments.job, arguments.source_from)
            show = _display(arguments)
            how = {"transport": arguments.transport, "profile": arguments.profile, "page": arguments.page}
            return local.run(job, folder, arguments.output, starter, show, **how)
    if arguments.command == "simulate":
        from asgd.commands import simulate
        from asgd.spec import load_job, with_files

        job = load_job(arguments.job, simulate.sets(arguments))
        job = with_files(job, arguments.job, arguments.source_from)
        if arguments.faults is not None:
            from asgd.commands import faults

            return faults.run(job, arguments.job, simulate.sets(arguments), arguments.faults)
        described = simulate.world(arguments, job.spec.workers.replicas)
        folder = Path(arguments.job).absolute().parent
        return simulate.run(job, folder, described, arguments.output, _display(arguments))
    if arguments.command == "replay":
        folder = Path(arguments.run)
        options.set_threads(folder)
        from asgd.commands import replay

        return replay.main(folder, arguments.until, arguments.dump, as_json=arguments.json)
    if arguments.command == "report":
        from asgd.page import file as page_file
        from asgd.report import compare

        code = compare.run(arguments.folders, arguments.output, arguments.target)
        return code or page_file.run(arguments.folders, arguments.output)
    if arguments.command == "open":
        from asgd.page import command as page

        return page.run(arguments.place, arguments.page, browser=not arguments.no_browser)
    if arguments.command == "check":
        from asgd.commands import check

        return check.run(arguments.place)
    if arguments.command == "validate":
        from asgd.drivers.counting import parameter_lines
        from asgd.spec import validate

        return validate.main(arguments.jobs, arguments.set, parameter_lines)
    if arguments.command == "bench":
        return others.run(arguments)
    return _process(arguments)


def _display(arguments: argparse.Namespace) -> MakeDisplay:
    from asgd.drivers.display import Display

    return lambda output: Display(quiet=arguments.quiet)


def _process(arguments: argparse.Namespace) -> int:
    """One process of a job."""
    from asgd.host.lossy import print_without_failing
    from asgd.host.orphans import end_with_parent

    end_with_parent()
    print_without_failing()
    if arguments.command == "server":
        from asgd.server import process as server

        return server.main()
    if arguments.command == "page":
        from asgd.page import beside

        return beside.main()
    if arguments.command == "evaluate":
        from asgd.worker import evaluator

        return evaluator.main()
    if arguments.join:
        from asgd.drivers.local.join import join

        join(Path(arguments.join), arguments.index)
    from asgd.worker import process

    return process.main()


if __name__ == "__main__":
    sys.exit(main())
