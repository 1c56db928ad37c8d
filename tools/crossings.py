"""Every option across every strategy, in virtual time: writes docs/reference/crossings.md. `make crossings`.

    .venv/bin/python tools/crossings.py [--jobs N] [--singles]

Cells and what they must reach are `tests/checks/crossings.py`'s, and `make test-all` runs them too; the page shows what
they reached. `--singles` leaves out the pairs of options, and what the page says about them. Exit code 1 when a cell
neither trains nor is refused.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.checks.crossings import (  # noqa: E402  (tests are no installed package)
    BATCH,
    DECAY,
    EPOCHS,
    GENERAL,
    MET_BY_OPTIMIZERS,
    MOST_REFUSED,
    NOISE_FACTOR,
    NOISE_LEFT,
    OPTIMIZERS,
    OPTIMIZERS_LEFT,
    SAMPLES,
    SIZE,
    STRATEGIES,
    WORKERS,
    Cell,
    Option,
    Outcome,
    pairs,
    run,
    singles,
)

PAGE = ROOT / "docs" / "reference" / "crossings.md"
MET = " and ".join([", ".join(MET_BY_OPTIMIZERS[:-1]), MET_BY_OPTIMIZERS[-1]])
HEAD = f"""\
# Options across strategies

Made by `make crossings` (`tools/crossings.py`); do not edit. Every option of a job and every optimizer against every
strategy, and every two options against every strategy: each cell trains as its plain twin does, or the API server and
`asgd validate` refuse it.

A cell is a job in virtual time: {WORKERS} workers (krum: 5), least squares of {SAMPLES} rows by {SIZE} weights, batches
of {BATCH}, {EPOCHS} epochs. Its figure is the part of the first excess loss that is left at the end, against the
minimum that the job asks for (weight decay {DECAY:g} moves it). It may be {NOISE_FACTOR:g} times what the plain twin
has left, or {100 * NOISE_LEFT:g} %, and servers may refuse {MOST_REFUSED:g} times the pushes that they take.
*resume*: all processes end half-way, and others go on from the checkpoint.
*late join*: worker 1 comes when half is done. *one NaN*: one gradient is nan. *topk* sends a quarter of the entries.
*groups*: half the rate for one tensor, no decay for another. *average*: `evaluation.ema` 0.9; the worse of centre and
average is shown. A cell with another optimizer may have {100 * OPTIMIZERS_LEFT:g} % left: it shows that the rule
trains there, not how well it was tuned. In pairs optimizers meet {MET}; all other options meet each other.
The problem is small and convex: it shows rules that are wrong, not how much a codec costs a large network
([performance](../performance.md)).

"""


def main(arguments: Sequence[str]) -> int:
    """Runs all cells and writes the page."""
    parser = argparse.ArgumentParser(description="docs/reference/crossings.md: every option x every strategy")
    parser.add_argument(
        "--jobs", type=int, default=2, metavar="N", help="strategies at once, a process each (default: 2)"
    )
    parser.add_argument("--singles", action="store_true", help="no pairs of options")
    given = parser.parse_args(arguments)
    found: dict[Cell, Outcome] = {}
    wanted = [(strategy, False) for strategy in STRATEGIES]
    wanted += [] if given.singles else [(strategy, True) for strategy in STRATEGIES]
    with ProcessPoolExecutor(max(1, given.jobs)) as pool:
        for row in pool.map(tried, *zip(*wanted, strict=True)):
            found |= row
            print(f"{next(iter(row)).strategy}: {counted(row.values())}", flush=True)
            for cell, outcome in row.items():
                if not outcome.good:
                    print(f"  {cell}: {outcome.left:.4f} left, at most {outcome.bound:.4f}", flush=True)
            PAGE.write_text(HEAD + page(found), encoding="utf-8")
    print(f"all: {counted(found.values())}")
    return 0 if all(outcome.good for outcome in found.values()) else 1


def tried(strategy: str, two: bool) -> dict[Cell, Outcome]:
    """The cells of one strategy: with two options each, or its plain twin and those with one."""
    one = [Cell(strategy), *(cell for cell in singles() if cell.strategy == strategy)]
    return {cell: run(cell) for cell in (pairs(strategy) if two else one)}


def counted(outcomes: Iterable[Outcome]) -> str:
    """`12 train, 3 are refused`, and what fails."""
    all_ = list(outcomes)
    refused, bad = sum(bool(one.refused) for one in all_), sum(not one.good for one in all_)
    failed = f", {bad} FAIL" if bad else ""
    return f"{len(all_) - refused - bad} train, {refused} are refused{failed}"


def page(found: dict[Cell, Outcome]) -> str:
    """The tables, the count and the sentences of refusals."""
    doubles = {cell: outcome for cell, outcome in found.items() if len(cell.options) == 2}
    sentences: dict[str, int] = {}
    text = f"**{len(found)} cells: {counted(found.values())}.**\n"
    text += "" if doubles else "Pairs of options are left out of this page (`--singles`).\n"
    for title, options in (("Options", GENERAL), ("Optimizers", OPTIMIZERS)):
        columns = ["plain", *(option.name.removeprefix("optimizer ") for option in options)]
        columns += ["pairs"] if doubles else []
        text += f"\n## {title}\n\n| strategy | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 1)}\n"
        for strategy in [name for name in STRATEGIES if Cell(name) in found]:
            cells = [Cell(strategy), *(Cell(strategy, (option,)) for option in options)]
            texts = [shown(found[cell], sentences) for cell in cells]
            if doubles:
                texts.append(
                    counted(doubles[cell] for cell in doubles if strategy_s(cell, strategy, options))
                )
            text += f"| `{strategy}` | {' | '.join(texts)} |\n"
    text += "\n## Refused\n\n"
    return text + "".join(f"{number}. `{sentence}`\n" for sentence, number in sentences.items())


def strategy_s(cell: Cell, strategy: str, options: Sequence[Option]) -> bool:
    """Whether a pair is one of `strategy`, and the last of its options is among `options`."""
    return cell.strategy == strategy and cell.options[-1] in options


def shown(outcome: Outcome, sentences: dict[str, int]) -> str:
    """A cell's text; a refusal is the number of its sentence."""
    if outcome.refused:
        return f"refused ({sentences.setdefault(outcome.refused, len(sentences) + 1)})"
    return f"{100 * outcome.left:.2g} %" if outcome.good else f"**{100 * outcome.left:.2g} %**"


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
