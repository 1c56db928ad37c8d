"""`asgd bench`: runs the cases that were asked for, shows each as soon as it is done, writes the page.

asgd bench                        everything, at most 40 minutes on two cores
asgd bench --quick                the short form, about two minutes
asgd bench update-path --json F   one case; its samples as JSON
"""

from __future__ import annotations

import argparse
import os
import platform
import signal
import sys
import time
import traceback
from datetime import UTC, datetime
from pathlib import Path

import msgspec

from asgd import __version__, exitcodes
from asgd.errors import UserError
from asgd_bench import page as pages
from asgd_bench.cases import CaseModule, all_cases
from asgd_bench.derived import check_model
from asgd_bench.goals import check
from asgd_bench.plan import Budget, Plan
from asgd_bench.results import Case, Page
from asgd_bench.system import Failed

LONGEST_SECONDS, QUICK_SECONDS = 36 * 60.0, 110.0
"""When no new round and no new case begins any more; cases stand in the order of what they tell."""


def main(arguments: argparse.Namespace) -> int:
    """Raises UserError on an unknown case or a file that can't be written."""
    if arguments.list:
        for case in all_cases().values():
            print(f"{case.NAME:16} {case.ABOUT}{' (not with --quick)' if case.SLOW else ''}")
        return exitcodes.DONE
    cases = _chosen(arguments)
    # NB: as for Ctrl-C, so that processes and network namespaces are cleared away.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(exitcodes.DRAINED))
    targets = [Path(name) for name in (arguments.json, arguments.output) if name]
    for path in targets:
        _check_writable(path)
    rounds = arguments.rounds or (3 if arguments.quick else 5)
    budget = Budget(QUICK_SECONDS if arguments.quick else LONGEST_SECONDS)
    plan = Plan(rounds, arguments.quick, _progress, arguments.tiny, budget)
    page = Page(
        version=__version__,
        machine=machine(),
        started=f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC",
        seconds=0.0,
        quick=arguments.quick,
        rounds=rounds,
        cases=[],
    )
    begin = time.monotonic()
    for case in cases:
        done = run_case(case, plan)
        _progress("")
        print(pages.case_text(done) + "\n", flush=True)
        page = msgspec.structs.replace(page, cases=[*page.cases, done], seconds=time.monotonic() - begin)
        _leave(page, arguments)
    for follows in (check_model(page), check(page)):
        if follows:
            print(pages.case_text(follows) + "\n")
            page = msgspec.structs.replace(page, cases=[*page.cases, follows])
    _leave(page, arguments)
    print(pages.footer(page))
    return exitcodes.DONE


def run_case(case: CaseModule, plan: Plan) -> Case:
    """One case; one that can't run here says why."""
    begin = time.monotonic()
    if plan.budget.spent:
        return Case(case.NAME, case.ABOUT, 0.0, [], "the time was up")
    plan.budget.cut = False
    try:
        tables, failure = case.run(plan), ""
    except Failed as error:
        tables, failure = [], str(error)
    except Exception as error:
        # NB: a mistake in one case must not cost the half hour of the others.
        traceback.print_exc()
        tables, failure = [], f"broke: {type(error).__name__}: {error}".splitlines()[0]
    about = case.ABOUT + ("; the time was up before all rounds were done" if plan.budget.cut else "")
    return Case(case.NAME, about, time.monotonic() - begin, tables, failure)


def machine() -> dict[str, str]:
    """What the figures depend on; neither names nor addresses."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / (1 << 30)
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    model = next((line.partition(":")[2].strip() for line in text.splitlines() if "model name" in line), "?")
    return {
        "cores": str(len(os.sched_getaffinity(0))),
        "CPU": model,
        "memory": f"{memory:.0f} GiB",
        "Linux": platform.release().split("-")[0],
        "Python": platform.python_version(),
    }


def _chosen(arguments: argparse.Namespace) -> list[CaseModule]:
    known = all_cases()
    for name in arguments.names:
        if name not in known:
            raise UserError(f"asgd bench: no case is called {name!r}; allowed are {', '.join(known)}")
    if arguments.names:
        return [known[name] for name in dict.fromkeys(arguments.names)]
    return [case for case in known.values() if not (arguments.quick and case.SLOW)]


def _check_writable(path: Path) -> None:
    if not path.absolute().parent.is_dir() or path.is_dir():
        raise UserError(f"asgd bench: {path} can't be written: its folder must exist, and it must be a file")


def _leave(page: Page, arguments: argparse.Namespace) -> None:
    """Writes what there is after every case, so that an interrupted benchmark is not lost."""
    try:
        if arguments.json:
            data = msgspec.json.format(msgspec.json.encode(page), indent=1)
            Path(arguments.json).write_bytes(data + b"\n")
        if arguments.output:
            pages.write(page, Path(arguments.output))
    except OSError as error:
        raise UserError(f"asgd bench: {error.filename} can't be written: {error.strerror}") from error


def _progress(text: str) -> None:
    """One line that is written over on a terminal; nothing elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\x1b[2K{text[:100]}", end="", file=sys.stderr, flush=True)
