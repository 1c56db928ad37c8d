"""Prints the table of attacks of docs/strategies.md: every attack and seed, Safeguard beside the rules that lose.

`.venv/bin/python tools/robust_table.py [RULE...]` with rules out of safeguard, mean, zeno, median, krum (all of them
if none is named) and their columns only. One process a core; a run takes some 3 s of one, and each says what became
of it when it ends. All rules together are 84 runs.
"""

from __future__ import annotations

import multiprocessing
import sys
from pathlib import Path
from typing import Any, NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.checks.robust import BYZANTINE, LATEST, trained

SEEDS = range(4)
RULES: dict[str, dict[str, Any]] = {
    "safeguard": {"name": "safeguard"},
    "mean": {"name": "sync"},
    "zeno": {"name": "zeno", "byzantine": 4},
    "median": {"name": "median"},
    "krum": {"name": "krum", "byzantine": 3},
}
ATTACKS = {rule: tuple(LATEST) for rule in RULES} | {"median": ("zero",), "krum": ("zero", "scaled")}
"""The attacks that a rule is tried on: the two that the note says it falls for."""


class Case(NamedTuple):
    """One run."""

    rule: str
    attack: str
    seed: int


class End(NamedTuple):
    """Accuracy in percent, and {worker: round in which it was first rejected}."""

    accuracy: float
    caught: dict[int, int]


def run(case: Case) -> tuple[Case, End]:
    """Trains; called in a process of the pool."""
    fields = dict(RULES[case.rule])
    accuracy, caught = trained(fields.pop("name"), case.attack, case.seed, **fields)
    return case, End(100 * accuracy, caught)


def span(ends: list[End]) -> str:
    """Lowest and highest accuracy over the seeds."""
    found = [end.accuracy for end in ends]
    return f"{min(found):.1f} to {max(found):.1f}" if found else ""


def verdicts(attack: str, ends: list[End]) -> list[str]:
    """Runs in which all four were caught, innocents over all runs, and when the last liar was."""
    caught = sum(set(BYZANTINE) <= set(end.caught) for end in ends)
    innocent = sum(len(set(end.caught) - set(BYZANTINE)) for end in ends)
    last = max((when for end in ends for when in end.caught.values()), default=0)
    return [f"{caught} of {len(ends)}", str(innocent), f"{last} ({LATEST[attack]})"]


def table(rules: list[str], ends: dict[Case, End]) -> str:
    """All runs as Markdown, a line an attack."""
    heads = ["all 4 caught", "innocent", "last by round (limit)"] if "safeguard" in rules else []
    lines = [["attack", *heads, *(f"{rule} %" for rule in rules)]]
    lines.append(["---"] * len(lines[0]))
    for attack in LATEST:
        of = {rule: [ends[case] for case in cases([rule]) if case.attack == attack] for rule in rules}
        first = verdicts(attack, of["safeguard"]) if heads else []
        lines.append([attack, *first, *(span(of[rule]) for rule in rules)])
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def cases(rules: list[str]) -> list[Case]:
    return [Case(rule, attack, seed) for rule in rules for attack in ATTACKS[rule] for seed in SEEDS]


def main() -> None:
    rules = sys.argv[1:] or list(RULES)
    if unknown := sorted(set(rules) - set(RULES)):
        sys.exit(f"no rule {unknown[0]!r}; there are {', '.join(RULES)}")
    ends: dict[Case, End] = {}
    with multiprocessing.get_context("spawn").Pool() as pool:
        for case, end in pool.imap_unordered(run, todo := cases(rules)):
            ends[case] = end
            who = f", rejected {end.caught}" if end.caught else ""
            told = f"{case.rule}, {case.attack}, seed {case.seed}: {end.accuracy:.1f} %{who}"
            print(f"{len(ends)}/{len(todo)} {told}", file=sys.stderr, flush=True)
    print(table(rules, ends))


if __name__ == "__main__":
    main()
