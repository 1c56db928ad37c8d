"""The Python environment of each peer: the project's own, or one in the cache, made by uv from PyPI on first use.

What is in the cache is used as it is; delete `~/.cache/asgd-bench` to get newer versions. A peer that can't be
installed is remembered for a day with the reason, so that a page without it costs no time.
"""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from asgd_bench.system import Failed

PACKAGES: dict[str, tuple[str, list[str]]] = {
    "ray": ("", ["ray>=2.40", "numpy"]),
    # MXNet was retired in 2023: its last release needs numpy's old names, which end with 1.23 and Python 3.11.
    "mxnet": ("3.11", ["mxnet==1.9.1", "numpy==1.23.5"]),
}
INSTALL_SECONDS = 300.0
REMEMBER_SECONDS = 86_400.0


def python_for(system: str) -> str:
    """The interpreter that has `system` ('torch' and 'zmq' are the project's own). Raises Failed."""
    if system not in PACKAGES:
        if importlib.util.find_spec(system) is None:
            raise Failed(f"{system} is not installed here")
        return sys.executable
    folder = cache() / system
    python = folder / "bin" / "python"
    if not (folder / "ready").exists():
        _refuse_again(folder)
        _install(system, folder)
    return str(python)


def cache() -> Path:
    """Where environments are kept: ASGD_BENCH_CACHE, else the user's cache folder."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(os.environ.get("ASGD_BENCH_CACHE") or Path(base) / "asgd-bench")


def _refuse_again(folder: Path) -> None:
    try:
        told = json.loads((folder / "failed.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return
    if time.time() - told["time"] < REMEMBER_SECONDS:
        raise Failed(f"{told['why']} (remembered in {folder})")


def _install(system: str, folder: Path) -> None:
    version, packages = PACKAGES[system]
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    uv = _uv()
    steps = [
        [uv, "venv", "--quiet", "--python", version or sys.executable, str(folder)],
        [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), *packages],
    ]
    for step in steps:
        try:
            done = subprocess.run(step, capture_output=True, text=True, timeout=INSTALL_SECONDS)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise _failed(folder, f"could not be installed: {error}") from error
        if done.returncode:
            said = next((line.strip() for line in done.stderr.splitlines() if line.strip()), "no message")
            raise _failed(folder, f"could not be installed: {said[:120]}")
    (folder / "ready").touch()


def _failed(folder: Path, why: str) -> Failed:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "failed.json").write_text(json.dumps({"time": time.time(), "why": why}), encoding="utf-8")
    return Failed(why)


def _uv() -> str:
    """uv from the path, beside this interpreter, or in the project's own tools folder. Raises Failed."""
    checkout = Path(__file__).parents[3] / ".tools" / "bin" / "uv"
    for found in (shutil.which("uv"), Path(sys.executable).with_name("uv"), checkout):
        if found and Path(found).exists():
            return str(found)
    raise Failed("uv is not installed, which makes this peer's environment (pip install uv)")
