"""The price of being watched: updates/s with the servers' exporter off, on, and scraped every second.

A model so small that messages are all there is, since a scrape costs the same of any model; Prometheus asks every 15 or
30 seconds as a rule.
"""

from __future__ import annotations

import json
import tempfile
import threading
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from asgd_bench import lanes
from asgd_bench.measurement import Measurable
from asgd_bench.plan import Plan
from asgd_bench.results import Sample, Table
from asgd_bench.system import System
from asgd_bench.systems import our

NAME = "exporter"
ABOUT = "updates/s with the exporter off, on, and on with a scrape every second"
SLOW = True

PARAMETERS = 5_000
WORKERS = 2
SECONDS = 1.0
SCRAPE_SECONDS = 1.0


@dataclass(slots=True)
class Scraped:
    """A system whose exporter is read all the time."""

    inner: System
    folder: Path

    @property
    def name(self) -> str:
        return self.inner.name

    @property
    def memory_bytes(self) -> int:
        return self.inner.memory_bytes

    def start(self) -> None:
        self.inner.start()

    def measure(self, seconds: float) -> Sample:
        """As the system, with a scraper beside it."""
        address = json.loads((self.folder / "server-0.json").read_text(encoding="utf-8"))["metrics"]
        over = threading.Event()
        thread = threading.Thread(target=_scrape, args=(address, over), daemon=True)
        thread.start()
        try:
            return self.inner.measure(seconds)
        finally:
            over.set()
            thread.join()

    def freeze(self) -> None:
        self.inner.freeze()

    def thaw(self) -> None:
        self.inner.thaw()

    def stop(self) -> None:
        self.inner.stop()


def _scrape(address: str, over: threading.Event) -> None:
    while True:
        with urllib.request.urlopen(f"http://{address}/metrics", timeout=5) as answer:
            answer.read()
        if over.wait(SCRAPE_SECONDS):
            return


def run(plan: Plan) -> list[Table]:
    """One table."""
    lane = lanes.between_machines()
    with tempfile.TemporaryDirectory(prefix="asgd-bench-") as folder:
        on = ("--metrics=127.0.0.1:0",)
        systems: list[Measurable] = [
            our(lane)("off", PARAMETERS, WORKERS),
            our(lane, *on)("on", PARAMETERS, WORKERS),
            Scraped(
                our(lane, *on, f"--folder={folder}")("on, scraped every second", PARAMETERS, WORKERS),
                Path(folder),
            ),
        ]
        # NB: the price is less than a percent, which single rounds can't show.
        lines = plan.measure(systems, seconds=0.1 if plan.tiny else SECONDS, times=1 if plan.tiny else 4)
    return [Table(f"TCP, {PARAMETERS:,} parameters, {WORKERS} workers", "updates/s", lines, "off")]
