"""Every strategy over real processes: accuracy, killed processes, resumption, replay. `make matrix` runs all of it.

    .venv/bin/python tools/matrix.py [--jobs N] [--missing | NAME...]

Each example of examples/strategies/ (and examples/digits.yaml as `asgd`) is run by `asgd run` three times, in its full
length: undisturbed on one shard; on two, of which one is killed, as is a worker; on three, interrupted and resumed.
`asgd replay` must then find equal bits in each. A row of docs/reference/matrix.md is written as soon as it is done,
other rows stay. `--missing`: only the rows that are not there or not good. Exit code 1 when a cell fails.
"""

from __future__ import annotations

import argparse
import json
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from asgd.spec.status import Status  # noqa: E402
from tests.local.run import HERE, Run  # noqa: E402  (tests are no installed package)
from tests.warm import ASGD  # noqa: E402

EXAMPLES, PAGE = ROOT / "examples" / "strategies", ROOT / "docs" / "reference" / "matrix.md"
COLUMNS = ("accuracy", "worker killed", "shard killed", "resumed", "replay, 1 shard", "2 shards", "3 shards")
ROBUST = {"krum", "median", "geometric-median", "safeguard", "zeno"}
PATIENCE_SECONDS = 900.0
SLOW_STEP_SECONDS = 0.05
BAD = "**no**"
HEAD = """\
# Strategies over real processes

Made by `make matrix` (`tools/matrix.py`); do not edit. Each row is three runs of the strategy's example by `asgd run`,
in its full length, each of at least 96 % accuracy (robust rules: 94 %).

* *accuracy*: of the undisturbed run, on one shard.
* *worker killed*, *shard killed*: of a run on two shards in which worker 1 and later shard 1 got `kill -9`. Both came
  back, the worker trained again, and only then did the run go on: steps are slow meanwhile.
* *resumed*: of a run on three shards that was interrupted half-way and went on with `checkpoint.restore=Latest`.
* *replay*: `asgd replay` ends with the same bits: of the whole run on one shard, of the one with killed processes on
  two, of the first half of the one on three (what begins from a checkpoint cannot be replayed).

"""


@dataclass(frozen=True, slots=True)
class Cell:
    """What stands in the table, and whether it is good."""

    text: str
    good: bool = True


class Failed(Exception):
    """A run did not do what it should; the text is for the cell."""


def example(name: str) -> dict[str, Any]:
    """The spec of a strategy's example."""
    path = ROOT / "examples" / "digits.yaml" if name == "asgd" else EXAMPLES / f"{name}.yaml"
    spec: dict[str, Any] = yaml.safe_load(path.read_text(encoding="utf-8"))["spec"]
    return spec


def least(name: str) -> float:
    """The accuracy that the strategy must reach."""
    return 0.94 if name in ROBUST else 0.96


class Row:
    """All cells of one strategy; its runs lie in `folder`."""

    def __init__(self, name: str, folder: Path) -> None:
        self.name, self.folder = name, folder

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """(column, cell), as they are done."""
        replays = COLUMNS[4:]
        yield COLUMNS[0], self._tried(self._whole)
        yield replays[0], self._tried(lambda: self._replay("whole"))
        killed = self._tried(self._killed)
        yield from ((column, killed) for column in COLUMNS[1:3])
        yield replays[1], self._tried(lambda: self._replay("killed"))
        yield COLUMNS[3], self._tried(self._resumed)
        yield replays[2], self._tried(lambda: self._replay("half"))

    def _tried(self, test: Callable[[], str]) -> Cell:
        try:
            return Cell(test())
        except (Failed, pytest.fail.Exception, AssertionError, OSError) as error:
            with (self.folder / "failures.txt").open("a", encoding="utf-8") as file:
                file.write(f"{error}\n\n")
            return Cell(f"{BAD}: {str(error).splitlines()[0][:80]}", False)

    def _run(self, kind: str, shards: int, **more: Any) -> Run:
        folder = self.folder / kind
        folder.mkdir()
        spec = example(self.name) | {"parameterServer": {"shards": shards}}
        return Run(folder, spec | more, "--quiet")

    def _accuracy(self, run: Run, code: int) -> str:
        if code != 0:
            raise Failed(f"exit code {code}\n{run.words()}")
        found = run.summary().metrics.get("accuracy") or 0.0
        if found < least(self.name):
            raise Failed(f"accuracy {found:.4f}")
        return f"{found:.1%}"

    # -- columns -----------------------------------------------------------------------------------------------------

    def _whole(self) -> str:
        with self._run("whole", 1) as run:
            return self._accuracy(run, run.wait(PATIENCE_SECONDS))

    def _killed(self) -> str:
        pace = self.folder / "pace"
        _step_takes(pace, 0.0)
        slowed = {"entrypoint": "tasks:digits", "args": example(self.name)["args"] | {"pace": str(pace)}}
        with self._run("killed", 2, checkpoint={"everySeconds": 1}, **slowed) as run:
            _until(run, "a fifth is done", lambda status: (status.progress or 0.0) >= 0.2)
            _step_takes(pace, SLOW_STEP_SECONDS)
            run.signal("worker-1", signal.SIGKILL)
            _until(run, "worker 1 is back and trains", lambda status: _trains_again(status, 1))
            _step_takes(pace, 0.0)
            _until(run, "almost half is done", lambda status: (status.progress or 0.0) >= 0.45)
            _step_takes(pace, SLOW_STEP_SECONDS)
            _until(run, "there is a checkpoint", lambda status: status.checkpoint is not None)
            run.signal("server-1", signal.SIGKILL)
            _until(run, "shard 1 is back", lambda status: status.terms[1] > 1)
            _step_takes(pace, 0.0)
            accuracy = self._accuracy(run, run.wait(PATIENCE_SECONDS))
            told = run.summary()
        if told.restarts != {"worker": 1, "server": 1} or told.workers_lost != [1]:
            raise Failed(f"restarts {told.restarts}, lost workers {told.workers_lost}")
        return accuracy

    def _resumed(self) -> str:
        with self._run("resumed", 3, checkpoint={"everySeconds": 1}) as run:
            _until(run, "half is done", lambda status: (status.progress or 0.0) >= 0.5)
            run.signal_command(signal.SIGINT)
            code = run.wait(PATIENCE_SECONDS)
            if code != 130:
                raise Failed(f"interrupted, it ended with exit code {code}\n{run.words()}")
            before = run.summary().updates
            shutil.copytree(run.output, self.folder / "half" / "out")
            run.start("--set", "checkpoint.restore=Latest")
            accuracy = self._accuracy(run, run.wait(PATIENCE_SECONDS))
            begun = run.history("run")
        if len(begun) != 2 or begun[1]["updates"] < before // 2:
            raise Failed(f"it began anew: {begun}")
        return accuracy

    def _replay(self, kind: str) -> str:
        output = self.folder / kind / "out"
        if not (output / "summary.json").exists():
            raise Failed("there was no run to replay")
        done = subprocess.run(
            [ASGD, "replay", str(output), "--json"], cwd=HERE, capture_output=True, text=True,
            timeout=PATIENCE_SECONDS, check=False, start_new_session=True,
        )  # fmt: skip
        last = "".join((done.stderr or done.stdout).strip().splitlines()[-1:])
        if done.returncode or json.loads(done.stdout)["equal"] is not True:
            raise Failed(f"exit code {done.returncode}: {last}\n{done.stdout}\n{done.stderr}")
        return "equal"


def _step_takes(pace: Path, seconds: float) -> None:
    partial = pace.with_suffix(".partial")
    partial.write_text(str(seconds), encoding="utf-8")
    partial.replace(pace)


def _until(run: Run, what: str, holds: Callable[[Status], bool]) -> None:
    def look() -> bool:
        status = run.status()
        return status is not None and holds(status)

    run.until(what, look, PATIENCE_SECONDS)


def _trains_again(status: Status, index: int) -> bool:
    """The worker has come back, and pushed since."""
    alive = [worker for worker in status.workers if worker.index == index and worker.state == "running"]
    return status.restarts["worker"] > 0 and any(worker.samples > 0 for worker in alive)


# -- the page ----------------------------------------------------------------------------------------------------------


class Page:
    """docs/reference/matrix.md: one row a strategy, each on its own."""

    def __init__(self, path: Path) -> None:
        self._path, self._lock = path, threading.Lock()

    def rows(self) -> dict[str, str]:
        """The rows as they stand, by strategy."""
        if not self._path.exists():
            return {}
        text = self._path.read_text(encoding="utf-8")
        return {line.split("`")[1]: line for line in text.splitlines() if line.startswith("| `")}

    def put(self, name: str, cells: dict[str, Cell]) -> None:
        """Writes one row; rows of strategies that are no more go."""
        texts = " | ".join(cells[column].text.replace("|", "/") for column in COLUMNS)
        with self._lock:
            rows = self.rows() | {name: f"| `{name}` | {texts} |"}
            head = f"| strategy | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}\n"
            kept = "".join(f"{rows[name]}\n" for name in sorted(rows.keys() & strategies()))
            self._path.write_text(HEAD + head + kept, encoding="utf-8")


def strategies() -> set[str]:
    """All there are an example of."""
    return {"asgd", *(path.stem for path in EXAMPLES.glob("*.yaml"))}


def fill(title: str, name: str, page: Page) -> bool:
    """Fills one row and says each cell. The runs of a row that failed are kept."""
    folder = Path(tempfile.mkdtemp(prefix=f"asgd-matrix-{name}-"))
    began, cells = time.monotonic(), {}
    for column, cell in Row(name, folder).cells():
        cells[column] = cell
        print(f"{title}  {time.monotonic() - began:.0f} s  {column}: {cell.text}", flush=True)
    for told in sorted(folder.glob("*/out/summary.json")):
        if rejected := json.loads(told.read_text(encoding="utf-8"))["rejectedWorkers"]:
            print(f"{title}  {told.parts[-3]}: rejected workers {rejected}", flush=True)
    page.put(name, cells)
    good = all(cell.good for cell in cells.values())
    print(f"{title}  {'done' if good else f'what failed lies in {folder}'}", flush=True)
    if good:
        shutil.rmtree(folder)
    return good


def main(arguments: Sequence[str]) -> int:
    """Fills the rows of all strategies, or of those that are named or missing."""
    parser = argparse.ArgumentParser(
        description="docs/reference/matrix.md: every strategy over real processes"
    )
    parser.add_argument(
        "names", nargs="*", metavar="NAME", help="strategies (default: all that have an example)"
    )
    parser.add_argument("--missing", action="store_true", help="only rows that are not there or not good")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="rows at once (default: 2)")
    given = parser.parse_args(arguments)
    if unknown := sorted(set(given.names) - strategies()):
        parser.error(f"no example of {', '.join(unknown)}; there are {', '.join(sorted(strategies()))}")
    page = Page(PAGE)
    names = given.names or sorted(strategies())
    if given.missing:
        there = {name for name, row in page.rows().items() if BAD not in row}
        names = [name for name in names if name not in there]
    with ThreadPoolExecutor(max(1, given.jobs)) as pool:
        titles = [f"{number}/{len(names)}  {name}" for number, name in enumerate(names, 1)]
        try:
            good = list(pool.map(lambda title, name: fill(title, name, page), titles, names))
        except KeyboardInterrupt:
            print("matrix: rows that have begun are finished, then it ends", file=sys.stderr, flush=True)
            pool.shutdown(wait=True, cancel_futures=True)
            return 130
    return 0 if all(good) else 1


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
