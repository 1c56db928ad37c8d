"""`asgd-operator run | render JOB.yaml | version`.

`render` prints what the operator would apply for a job, without a cluster. Exit codes: 0 done, 2 wrong input,
75 the cluster cannot be reached or the Lease was lost.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import sys
from collections.abc import Sequence
from pathlib import Path

import yaml

from asgd import exitcodes
from asgd.errors import UserError
from asgd.spec import load_job, with_files
from asgd.standing import folder_gone
from asgd_operator import __version__, logs, settings
from asgd_operator.errors import OperatorError
from asgd_operator.render import Owner, children

log = logging.getLogger(__name__)

DEEPEST = 40_000
"""Calls inside one another: objects that the API server takes may be nested 10,000 deep."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command; answers its exit code."""
    options = parser().parse_args(arguments)
    try:
        return int(options.command(options))
    except FileNotFoundError:
        if not (gone := folder_gone()):
            raise
        print(gone, file=sys.stderr)
        return exitcodes.USER_ERROR
    except UserError as error:
        print(error, file=sys.stderr)
        return exitcodes.USER_ERROR


def _run(options: argparse.Namespace) -> int:
    from asgd_operator.run import run  # kopf and the API client: 60 MB that `render` and `version` do without

    chosen = settings.load(options.config, os.environ)
    logs.set_up(chosen.logging.level, chosen.logging.format)
    # NB: kopf reads the events of all jobs in one stream, which a single one that is nested deeply would end for ever.
    sys.setrecursionlimit(DEEPEST)
    try:
        asyncio.run(run(chosen))
    except asyncio.CancelledError:
        log.info("stopped by a signal")
    except (OperatorError, OSError) as error:
        log.error("stopped: %s", error)
        return exitcodes.TRY_AGAIN
    return exitcodes.DONE


def _render(options: argparse.Namespace) -> int:
    job = load_job(options.job)
    chosen = settings.load(options.config, os.environ)
    files = {}
    if job.spec.source_from is not None:
        files = with_files(job, options.job, options.source_from).spec.source
    made = children(job, Owner("", job.name, job.namespace), chosen.jobs, files=files)
    print("# The Secret with the job's keys is left out: keys are made anew for each job.")
    for manifest in made.all():
        # Without a job in a cluster there is no owner to name.
        manifest["metadata"].pop("ownerReferences")
        print(f"---\n{yaml.safe_dump(manifest, sort_keys=False, width=1000)}", end="")
    return exitcodes.DONE


def _version(_: argparse.Namespace) -> int:
    print(__version__)
    return exitcodes.DONE


def parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="asgd-operator", description="Runs AsgdJobs on Kubernetes.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    run = commands.add_parser("run", help="watch AsgdJobs and keep them going")
    run.set_defaults(command=_run)
    render = commands.add_parser("render", help="print the objects that a job would become")
    render.add_argument("job", metavar="JOB.yaml", type=Path)
    where = "the files of the ConfigMap in spec.sourceFrom, where it does not stand in JOB.yaml"
    render.add_argument("--source-from", metavar="DIR", help=where)
    render.set_defaults(command=_render)
    for command in (run, render):
        says = "the operator's settings; ASGD_OPERATOR_* goes over them"
        command.add_argument("--config", metavar="FILE", type=Path, help=says)
    commands.add_parser("version", help="print the version").set_defaults(command=_version)
    return parser


if __name__ == "__main__":
    sys.exit(main())
