"""The version stands in pyproject.toml; every other place that names it is written from there by `make generate`."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
NUMBER = r"\d+\.\d+\.\d+(?:[abrc.\w-]*\w)?"
PLACES = {
    "trainer/asgd/__init__.py": r'(?<=__version__ = ")NUMBER(?=")',
    "charts/asgd-operator/Chart.yaml": r"(?<=^version: )NUMBER|(?<=^appVersion: )NUMBER",
    "bench/pyproject.toml": r'(?<=^version = ")NUMBER|(?<=examples\]==)NUMBER',
    "README.md": r"(?<=asgd-trainer:)NUMBER",
    "docs/operate.md": r"(?<=asgd-trainer:)NUMBER",
}
"""{file: what to replace there}."""


def version() -> str:
    """The project's version."""
    found = re.search(r'^version = "(.+)"', (ROOT / "pyproject.toml").read_text(encoding="utf-8"), re.M)
    assert found is not None
    return found[1]


def outputs() -> dict[Path, str]:
    """{file: its text with today's version}. Raises ValueError where a file no longer has a place for it."""
    made = {}
    for name, pattern in PLACES.items():
        path = ROOT / name
        text, count = re.subn(
            pattern.replace("NUMBER", NUMBER), version(), path.read_text(encoding="utf-8"), flags=re.M
        )
        if not count:
            raise ValueError(f"{name} has no place for the version any more")
        made[path] = text
    return made
