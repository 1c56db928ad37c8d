"""`wait`: for a condition or for the end, with exit codes that scripts can use."""

from __future__ import annotations

import argparse

from asgd.client.access import Access
from asgd.client.commands.base import Arguments, Commands, add, add_job, seconds
from asgd.client.waiting import Wait, end_of

KINDS = (
    "Accepted",
    "Suspended",
    "ParameterServersReady",
    "WorkersReady",
    "Running",
    "Degraded",
    "CheckpointReady",
    "Complete",
    "Failed",
)
_CODES = """\
exit codes without --for, as those of asgd run:
  0 complete, 2 wrong input, 4 complete but not evaluated, 78 diverged, 1 failed otherwise
exit codes with --for:
  0 the condition has come, 1 the time is over, or the job has ended without it"""


def add_commands(commands: Commands) -> None:
    wait = add(commands, "wait", _wait, "wait for a condition of a job, or for its end", epilog=_CODES)
    add_job(wait)
    wait.add_argument(
        "--for", dest="wish", type=_wish, metavar="condition=NAME[=VALUE]", help="default: Complete or Failed"
    )
    wait.add_argument(
        "--timeout", type=seconds, metavar="TIME", help="as 90s or 1h; default: as long as it takes"
    )


def _wish(text: str) -> tuple[str, str]:
    """(condition, value). For argparse."""
    what, _, rest = text.partition("=")
    name, _, value = rest.partition("=")
    kinds = {kind.lower(): kind for kind in KINDS}
    values = {"": "True", "true": "True", "false": "False", "unknown": "Unknown"}
    if what != "condition" or name.lower() not in kinds or value.lower() not in values:
        raise argparse.ArgumentTypeError(
            f"{text!r} must be condition=NAME or condition=NAME=False, with NAME one of {', '.join(KINDS)}"
        )
    return kinds[name.lower()], values[value.lower()]


def _wait(access: Access, arguments: Arguments) -> int:
    wait = Wait(access, arguments.name, arguments.timeout)
    if arguments.wish is None:
        return end_of(wait)
    kind, value = arguments.wish
    wait.until(kind, value)
    print(f"asgdjob.asgd.dev/{arguments.name} condition met")
    return 0
