"""Helm itself, as users run it: render the chart with given values, lint it, work with releases.

The program comes from PATH or from the test cluster's cache. Where neither has it, tests skip and say so;
under CI that is a failure.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster.binaries import find
from tests.cluster.shell import ClusterError

CHART = Path(__file__).resolve().parents[2] / "charts" / "asgd-operator"
KUBE = "--kube-version=1.34.0"
"""Helm outside of a cluster assumes a version of its own."""

Values = dict[str, Any]


def helm(*words: str | Path, values: Values | None = None, fails: bool = False) -> str:
    """stdout of `helm WORDS`; stderr when it is expected to fail."""
    given = ["-f", "-"] if values is not None else []
    done = subprocess.run(
        [_program(), *words, *given], input=json.dumps(values or {}), capture_output=True, text=True
    )
    assert (done.returncode != 0) == fails, done.stderr + done.stdout
    return done.stderr if fails else done.stdout


def template(values: Values | None = None) -> list[dict[str, Any]]:
    """The objects that the chart makes of `values`, as release `asgd` in namespace `asgd-system`."""
    text = helm("template", "asgd", CHART, "-n", "asgd-system", KUBE, values=values or {})
    return [found for found in yaml.safe_load_all(text) if found]


def one(objects: list[dict[str, Any]], kind: str, name: str = "") -> dict[str, Any]:
    """The only object of a kind (and name)."""
    (found,) = (
        item for item in objects if item["kind"] == kind and (not name or item["metadata"]["name"] == name)
    )
    return found


def _program() -> str:
    try:
        return shutil.which("helm") or str(find("helm"))
    except ClusterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no helm: {error}")
