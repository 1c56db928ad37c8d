"""promtool, Prometheus' own linter of metrics and rules, from PATH or from the test cluster's cache.

Where neither has it, tests skip and say so; under CI that is a failure.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.cluster.binaries import find
from tests.cluster.shell import ClusterError


def promtool(*words: str | Path, given: bytes = b"") -> str:
    """What it complains of in `given`; empty where it has no complaint."""
    done = subprocess.run([_program(), *words], input=given, capture_output=True)
    said = (done.stdout + done.stderr).decode()
    return said if done.returncode else ""


def _program() -> str:
    try:
        return shutil.which("promtool") or str(find("promtool"))
    except ClusterError as error:
        if os.environ.get("CI"):
            raise
        pytest.skip(f"no promtool: {error}")
