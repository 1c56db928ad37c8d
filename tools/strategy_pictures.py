"""Makes the pictures of docs/strategies.md: each example beside what it is to be compared with, on one hard cluster.

    .venv/bin/python tools/strategy_pictures.py [--runs FOLDER] [NAME...]

Runs `asgd simulate` on examples/strategies/NAME.yaml, whose bits are the same on every machine, and draws panels of
`asgd report` into docs/images/strategies/NAME.png. Ordinary strategies stand beside A-SGD, robust ones beside the plain
mean (`sync`) under the same liars.
"""

from __future__ import annotations

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import NullFormatter, PercentFormatter
from PIL import Image

from asgd.report import compared, units
from asgd.report.compared import Compared
from asgd.report.files import write_atomic
from asgd.report.goal import best, parse, reached
from asgd.report.panels import LIGHT, metric_against_bytes, metric_against_samples, metric_against_time, style
from asgd.report.picture import rc

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES, PICTURES = ROOT / "examples" / "strategies", ROOT / "docs" / "images" / "strategies"
MOST_BYTES = 40_000
ROBUST = {"safeguard", "krum", "median", "geometric-median", "zeno"}
HARD = ["--straggler", "0:3", "--latency", "0.005", "--bandwidth", "1M"]
LIARS = ["--attack", "inner:7,8,9", "--latency", "0.005", "--bandwidth", "1M"]
RATE = ["--set", "optimizer.learningRate=0.1"]
ALL = ["--set", "evaluation.everySeconds=5", "--set", "stopAfter.epochs=60"]


def simulate(job: Path, folder: Path, *options: str) -> Path:
    """The run of `job` in `folder`, which is kept if it is there."""
    if not (folder / "summary.json").exists():
        shutil.rmtree(folder, ignore_errors=True)  # one that was cut off
        command = [sys.executable, "-m", "asgd.cli", "simulate", str(job), *ALL, *options]
        done = subprocess.run([*command, "--quiet", "--output", str(folder)], capture_output=True, text=True)
        if done.returncode not in (0, 78):  # diverging is an answer too
            raise SystemExit(f"{job.stem}: {done.stderr.strip()}")
    return folder


def runs_of(name: str, work: Path) -> list[Compared]:
    """The strategy's run and the one to compare it with."""
    example = EXAMPLES / f"{name}.yaml"
    if name in ROBUST:
        other = simulate(EXAMPLES / "sync.yaml", work / "sync-lied-to", *LIARS, "--workers", "10", *RATE)
        return compared.load([str(simulate(example, work / name, *LIARS)), str(other)])
    base = ["--set", "args.model=mlp", "--set", "parameterServer.shards=1"]
    other = simulate(ROOT / "examples" / "digits.yaml", work / "asgd", *HARD, *base)
    return compared.load([str(simulate(example, work / name, *HARD)), str(other)])


def draw(runs: Sequence[Compared]) -> bytes:
    """Accuracy against time and against bytes (samples, where bytes say nothing), few colours, few bytes."""
    robust = runs[0].algorithm in ROBUST
    with mpl.rc_context(rc(LIGHT)):
        figure = Figure(figsize=(8.0, 2.7), dpi=100, layout="constrained", facecolor="white")
        FigureCanvasAgg(figure)
        left, right = figure.subplots(1, 2, sharey=True)
        metric_against_time(left, runs, best("accuracy"), LIGHT)
        (metric_against_samples if robust else metric_against_bytes)(right, runs, best("accuracy"), LIGHT)
        right.set_ylabel("")
        for axes in (left, right):
            _show_the_beginning(axes, 0.0 if robust else 0.8)
        strokes = [Line2D([], [], color=style(LIGHT, index)[0], linewidth=2) for index in range(len(runs))]
        names = [run.algorithm for run in runs]
        figure.legend(strokes, names, loc="outside upper left", ncols=2, frameon=False)
        picture = io.BytesIO()
        figure.savefig(picture, format="png", dpi=100)
    small = io.BytesIO()
    Image.open(picture).convert("RGB").quantize(48).save(small, format="png", optimize=True)
    return small.getvalue()


def _show_the_beginning(axes: Axes, lowest: float) -> None:
    """Logarithmic, from the first evaluation on, and accuracies from `lowest` on: there it is that runs differ."""
    xs = [float(x) for line in axes.lines for x in np.asarray(line.get_xdata(), float) if x > 0]
    formatter = axes.xaxis.get_major_formatter() if not axes.get_xlabel().startswith("time") else "{x:g}"
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(formatter)
    axes.xaxis.set_minor_formatter(NullFormatter())
    axes.set_xlim(min(xs), max(xs) * 1.1)
    axes.set_ylim(lowest, 1.0)
    axes.yaxis.set_major_formatter(PercentFormatter(xmax=1, decimals=0))


def main(asked: Sequence[str]) -> int:
    """Draws the pictures of all examples, or of those that are named."""
    parser = argparse.ArgumentParser(description="the pictures of docs/strategies.md")
    parser.add_argument("names", nargs="*", metavar="NAME", help="strategies (default: all examples)")
    parser.add_argument("--runs", metavar="FOLDER", help="keep the runs there, and take those that are there")
    given = parser.parse_args(asked)
    names = given.names or sorted(path.stem for path in EXAMPLES.glob("*.yaml"))
    PICTURES.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as fresh:
        for number, name in enumerate(names, 1):
            runs = runs_of(name, Path(given.runs or fresh))
            data = draw(runs)
            assert len(data) < MOST_BYTES, f"{name}.png has {len(data)} bytes"
            write_atomic(PICTURES / f"{name}.png", data)
            print(f"{number}/{len(names)}  {name}: {'; '.join(map(_told, runs))}", flush=True)
    return 0


def _told(run: Compared) -> str:
    """Final accuracy and what 95 % took."""
    point = reached(parse("accuracy=0.95"), run.points)
    took = f"95 % in {point.t:.0f} s and {units.size(round(point.bytes))}" if point else "never 95 %"
    return f"{run.algorithm} {run.metrics.get('accuracy') or 0.0:.4f}, {took}"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
