"""A job whose checkpoints go to a store that hangs while a file says so: fsspec's local one, with a pause in each call.

The servers find it as `slow://`, registered by a `sitecustomize` on their PYTHONPATH.
"""

from __future__ import annotations

import json
import os
import urllib.request
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.checks.processes import Processes

SITE = '''
import time
from pathlib import Path

import fsspec
from fsspec.implementations.local import LocalFileSystem

HANGS = Path({flag!r})
SECONDS = {seconds}


def pause():
    """Each call takes SECONDS while the file is there."""
    ends = time.monotonic() + SECONDS
    while HANGS.exists() and time.monotonic() < ends:
        time.sleep(0.1)


def slowed(name):
    def call(self, *given, **named):
        pause()
        return getattr(LocalFileSystem, name)(self, *given, **named)

    return call


class Slow(LocalFileSystem):
    protocol = ("slow",)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("slow://"))


for name in ("exists", "ls", "makedirs", "open", "mv", "pipe_file", "rm", "cat_file"):
    setattr(Slow, name, slowed(name))
fsspec.register_implementation("slow", Slow)
'''


class SlowStore(Processes):
    """Servers whose store takes `seconds` a call between `hang` and `mend`."""

    def __init__(self, folder: Path, spec: dict[str, Any], seconds: float = 30.0) -> None:
        self._flag = folder / "hangs"
        site = folder / "site"
        site.mkdir(parents=True)
        text = SITE.format(flag=str(self._flag), seconds=seconds)
        (site / "sitecustomize.py").write_text(text, encoding="utf-8")
        super().__init__(folder, spec)

    def environment(self, index: int) -> dict[str, str]:
        return super().environment(index) | {
            "ASGD_CHECKPOINT": f"slow://{self.folder}/checkpoints",
            "ASGD_METRICS": "127.0.0.1:0",
            "ASGD_ANNOUNCE": str(self.folder / f"announced-{index}"),
            "PYTHONPATH": os.pathsep.join([str(self.folder / "site"), os.environ.get("PYTHONPATH", "")]),
        }

    def hang(self) -> None:
        self._flag.touch()

    def mend(self) -> None:
        self._flag.unlink()

    def manifests(self) -> list[Path]:
        return sorted((self.folder / "checkpoints").glob("*/manifest.json"))

    def metric(self, name: str) -> float:
        """Of shard 0."""
        address = json.loads((self.folder / "announced-0").read_text())["metrics"]
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=30) as answer:
            text = answer.read().decode()
        samples = [s for family in text_string_to_metric_families(text) for s in family.samples]
        return next(sample.value for sample in samples if sample.name == name)
