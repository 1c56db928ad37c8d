"""What all commands share: kubectl's options, the way to the cluster, and how a job is named."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from datetime import UTC, datetime
from typing import TypeAlias

from asgd.client.access import Access
from asgd.errors import UserError

Arguments: TypeAlias = argparse.Namespace
Command: TypeAlias = Callable[[Access, Arguments], int]
"""Prints, and returns the exit code."""
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_PREFIXES = ("asgdjob/", "asgdjobs/", "asgd/", "asgdjob.asgd.dev/", "asgdjobs.asgd.dev/")
_NAME = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_DURATION = re.compile(r"(?:(\d+(?:\.\d+)?)(ms|h|m|s))")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
FOR_EVER = 7 * 24 * 3600.0
"""What a negative --timeout stands for, as in `kubectl wait`."""


def add(
    commands: Commands, name: str, run: Command, summary: str, description: str = "", *, epilog: str = ""
) -> argparse.ArgumentParser:
    """A command with the common options. `summary` is its line in the help of all."""
    command = commands.add_parser(
        name,
        help=summary,
        description=description or f"{summary[:1].upper()}{summary[1:]}.",
        epilog=epilog,
        parents=[common()],
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    command.set_defaults(run=run)
    return command


def common() -> argparse.ArgumentParser:
    """kubectl's own options. Not given, they are absent, so that they may stand before or after the command."""
    found = argparse.ArgumentParser(add_help=False, argument_default=argparse.SUPPRESS, allow_abbrev=False)
    group = found.add_argument_group("as kubectl")
    group.add_argument("-n", "--namespace", metavar="NAMESPACE", help="default: the context's")
    group.add_argument("--context", metavar="NAME", help="of the kubeconfig; default: the current one")
    group.add_argument("--kubeconfig", metavar="FILE", help="default: $KUBECONFIG, or ~/.kube/config")
    group.add_argument(
        "--request-timeout", metavar="TIME", type=seconds, help="for one answer (default: 30s)"
    )
    return found


def add_job(command: argparse.ArgumentParser, *, many: bool = False) -> None:
    """The job's name, as `digits` or `asgdjob/digits`; `names` with `many`."""
    if many:
        command.add_argument("names", nargs="*", metavar="JOB", type=job_name)
    else:
        command.add_argument(
            "name", metavar="JOB", type=job_name, help="its name, as digits or asgdjob/digits"
        )


def add_format(command: argparse.ArgumentParser, *choices: str) -> None:
    command.add_argument("-o", "--output", choices=choices, default="", help="another form than the table")


def job_name(text: str) -> str:
    """`digits` of `digits` or `asgdjob/digits`. For argparse."""
    name = text
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    if not _NAME.fullmatch(name) or len(name) > 40:
        raise argparse.ArgumentTypeError(
            f"{text!r} is no name of a job; allowed are at most 40 lower-case letters, digits and '-'"
        )
    return name


def seconds(text: str) -> float:
    """Of a duration as kubectl takes it: `90s`, `5m`, `1h30m`, 0; a negative one is a week. For argparse."""
    if text.startswith("-"):
        return FOR_EVER
    if text.isdigit():
        return float(text)
    parts = _DURATION.findall(text)
    if not parts or "".join(f"{count}{unit}" for count, unit in parts) != text:
        raise argparse.ArgumentTypeError(f"{text!r} is no duration; allowed are such as 90s, 5m and 1h30m")
    return sum(float(count) * _SECONDS[unit] for count, unit in parts)


def count(text: str) -> int:
    """A whole number from 0 on. For argparse."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is no whole number from 0 on")
    return int(text)


def now() -> datetime:
    return datetime.now(UTC)


def refuse(sentence: str) -> UserError:
    return UserError(f"error: {sentence}")
