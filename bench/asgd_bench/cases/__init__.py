"""The cases, one file each: NAME, ABOUT (one line), SLOW (left out of --quick), and `run(plan)` with its tables."""

from __future__ import annotations

import importlib
from typing import Protocol, cast

from asgd_bench.plan import Plan
from asgd_bench.results import Table

ORDER = [
    "update_path",
    "small_messages",
    "startup",
    "memory",
    "encoders",
    "exporter",
    "live_page",
    "join",
    "recovery",
    "checkpoint",
    "slow_link",
    "stragglers",
    "scaling",
    "codecs",
    "training",
]


class CaseModule(Protocol):
    """What each file here has."""

    NAME: str
    ABOUT: str
    SLOW: bool

    def run(self, plan: Plan) -> list[Table]:
        """Measures. Raises Failed when the case can't run here."""


def all_cases() -> dict[str, CaseModule]:
    """{name: case} in the order of a page."""
    modules = [cast(CaseModule, importlib.import_module(f"asgd_bench.cases.{name}")) for name in ORDER]
    return {module.NAME: module for module in modules}
