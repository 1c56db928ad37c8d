"""Every strategy over real processes: accuracy, killed processes, resumption, replay. `make matrix` runs all of it.

    .venv/bin/python tools/matrix.py [NAME...]

Each example of examples/strategies/ (and examples/digits.yaml as `asgd`) is run by `asgd run`: once whole, once while
a worker and a shard are killed, once interrupted and resumed, and briefly over 1 and 3 shards; `asgd replay` must then
find equal bits. The table is docs/reference/matrix.md; rows of strategies that were not asked for stay as they are.
Exit code 1 when a cell fails.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.local.run import ASGD, Run  # noqa: E402  (tests are no installed package)

EXAMPLES, PAGE = ROOT / "examples" / "strategies", ROOT / "docs" / "reference" / "matrix.md"
COLUMNS = ("accuracy", "worker killed", "shard killed", "resumed", "replay, 1 shard", "2 shards", "3 shards")
ROBUST = {"krum", "median", "geometric-median", "safeguard", "zeno"}
PATIENCE_SECONDS = 900.0
SHORT_EPOCHS = 8
NOT_TESTED = "not tested"
HEAD = """\
# Strategies over real processes

Made by `make matrix` (`tools/matrix.py`); do not edit. Each row is the strategy's example by `asgd run`,
with two shards unless a column says otherwise.

* *accuracy*: of the whole run, at least 96 % (robust rules: 94 %).
* *worker killed*, *shard killed*: of one run in which worker 1 and then shard 1 got `kill -9`.
* *resumed*: of a run that was interrupted half-way and went on with `checkpoint.restore=Latest`.
* *replay*: `asgd replay` of a recorded run ends with the same bits; over 1 and 3 shards of a run of {short} epochs.

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

    def __init__(self, name: str, folder: Path, replays: bool) -> None:
        self.name, self.folder, self._replays = name, folder, replays

    def cells(self) -> Iterator[tuple[str, Cell]]:
        """(column, cell), as they are done."""
        yield from zip(COLUMNS[:1], self._tried(self._whole), strict=True)
        yield from zip(COLUMNS[1:3], self._tried(self._killed, 2), strict=True)
        yield from zip(COLUMNS[3:4], self._tried(self._resumed), strict=True)
        for shards, column in enumerate(COLUMNS[4:], 1):
            yield from zip([column], self._tried(lambda n=shards: self._replay(n)), strict=True)  # type: ignore[misc]

    def _tried(self, test: Callable[[], list[Cell]], count: int = 1) -> list[Cell]:
        try:
            return test()
        except (Failed, pytest.fail.Exception, OSError) as error:
            self._note(str(error))
            return [Cell(f"**no**: {str(error).splitlines()[0][:80]}", False)] * count

    def _note(self, text: str) -> None:
        with (self.folder / "failures.txt").open("a", encoding="utf-8") as file:
            file.write(text + "\n\n")

    def _run(self, kind: str, shards: int = 2, **more: Any) -> Run:
        folder = self.folder / kind
        folder.mkdir()
        spec = example(self.name)
        return Run(folder, spec | {"parameterServer": {"shards": shards}} | more, "--quiet")

    def _accuracy(self, run: Run, code: int) -> str:
        if code != 0:
            raise Failed(f"exit code {code}\n{run.words()}")
        found = run.summary().metrics.get("accuracy") or 0.0
        if found < least(self.name):
            raise Failed(f"accuracy {found:.4f}")
        return f"{found:.1%}"

    # -- columns -----------------------------------------------------------------------------------------------------

    def _whole(self) -> list[Cell]:
        with self._run("shards-2") as run:
            return [Cell(self._accuracy(run, run.wait(PATIENCE_SECONDS)))]

    def _killed(self) -> list[Cell]:
        with self._run("killed", checkpoint={"everySeconds": 1}) as run:
            self._until(run, 0.2)
            run.signal("worker-1", signal.SIGKILL)
            self._until(run, 0.45)
            run.signal("server-1", signal.SIGKILL)
            accuracy = self._accuracy(run, run.wait(PATIENCE_SECONDS))
            told = run.summary()
        # NB: on a busy machine the run may be over before the killed worker has loaded torch again.
        noticed = {"worker": 1 in told.workers_lost, "server": told.restarts.get("server", 0) > 0}
        return [
            Cell(accuracy) if seen else Cell(f"**no**: nobody noticed the dead {role}", False)
            for role, seen in noticed.items()
        ]

    def _resumed(self) -> list[Cell]:
        with self._run("resumed", checkpoint={"everySeconds": 1}) as run:
            self._until(run, 0.5)
            run.signal_command(signal.SIGINT)
            code = run.wait(PATIENCE_SECONDS)
            if code != 130:
                raise Failed(f"interrupted, it ended with exit code {code}\n{run.words()}")
            before = run.summary().updates
            run.start("--set", "checkpoint.restore=Latest")
            accuracy = self._accuracy(run, run.wait(PATIENCE_SECONDS))
            begun = run.history("run")
        if len(begun) != 2 or begun[1]["updates"] < before // 2:
            raise Failed(f"it began anew: {begun}")
        return [Cell(accuracy)]

    def _replay(self, shards: int) -> list[Cell]:
        if not self._replays:
            return [Cell(NOT_TESTED)]
        folder = self.folder / f"shards-{shards}"
        if not folder.exists():
            with self._run(folder.name, shards, stopAfter={"epochs": SHORT_EPOCHS}) as run:
                if code := run.wait(PATIENCE_SECONDS):
                    raise Failed(f"exit code {code}\n{run.words()}")
        command = [ASGD, "replay", str(folder / "out")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE_SECONDS, check=False)
        if done.returncode:
            last = (done.stderr or done.stdout).strip().splitlines()[-1:]
            raise Failed(f"exit code {done.returncode}: {''.join(last)}\n{done.stdout}\n{done.stderr}")
        return [Cell("equal")]

    @staticmethod
    def _until(run: Run, part: float) -> None:
        """Waits until so much of the stop rule is done."""

        def look() -> bool:
            status = run.status()
            return status is not None and (status.progress or 0.0) >= part

        run.until(f"{part:.0%} are done", look, PATIENCE_SECONDS)


# -- the page ----------------------------------------------------------------------------------------------------------


def known_rows() -> dict[str, str]:
    """The page's rows as they stand, by strategy."""
    if not PAGE.exists():
        return {}
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return {line.split("`")[1]: line for line in lines}


def page(rows: dict[str, str]) -> str:
    """The page with these rows, in order of their names."""
    head = f"| strategy | {' | '.join(COLUMNS)} |\n|{'---|' * (len(COLUMNS) + 1)}\n"
    return HEAD.format(short=SHORT_EPOCHS) + head + "".join(f"{rows[name]}\n" for name in sorted(rows))


def strategies() -> list[str]:
    """All there are an example of."""
    return sorted({"asgd", *(path.stem for path in EXAMPLES.glob("*.yaml"))})


def main(asked: Sequence[str]) -> int:
    """Fills the rows of all strategies, or of those that are named."""
    if unknown := sorted(set(asked) - set(strategies())):
        print(
            f"matrix: no example of {', '.join(unknown)}; there are {', '.join(strategies())}",
            file=sys.stderr,
        )
        return 2
    names = list(asked) or strategies()
    replays = subprocess.run([ASGD, "replay", "--help"], capture_output=True, check=False).returncode == 0
    good = True
    for number, name in enumerate(names, 1):
        good &= _row(f"{number}/{len(names)}  {name}", name, replays)
    return 0 if good else 1


def _row(title: str, name: str, replays: bool) -> bool:
    """Fills one row and writes it to the page at once; says each cell. The runs of a row that failed are kept."""
    folder = Path(tempfile.mkdtemp(prefix=f"asgd-matrix-{name}-"))
    began, cells = time.monotonic(), []
    for column, cell in Row(name, folder, replays).cells():
        cells.append(cell)
        print(f"{title}  {column}: {cell.text}", flush=True)
    good = all(cell.good for cell in cells)
    print(
        f"{title}  {time.monotonic() - began:.0f} s{'' if good else f'; what failed lies in {folder}'}",
        flush=True,
    )
    if good:
        shutil.rmtree(folder)
    rows = known_rows() | {
        name: f"| `{name}` | {' | '.join(cell.text.replace('|', '/') for cell in cells)} |"
    }
    known = set(strategies())
    PAGE.write_text(page({key: row for key, row in rows.items() if key in known}), encoding="utf-8")
    return good


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
