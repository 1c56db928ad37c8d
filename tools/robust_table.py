"""Prints the table of attacks of docs/strategies.md: every attack and seed, Safeguard beside the rules that lose.

`.venv/bin/python tools/robust_table.py [SEEDS]`; a quarter of an hour of one core with all four seeds.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from tests.checks.robust import BYZANTINE, LATEST, trained


def accuracies(name: str, attack: str, seeds: range, **fields: int) -> str:
    """The accuracies over all seeds, lowest and highest, in percent."""
    found = [100 * trained(name, attack, seed, **fields)[0] for seed in seeds]
    return f"{min(found):.1f} to {max(found):.1f}"


def row(attack: str, seeds: range) -> str:
    """One attack: who was caught when, and the accuracy of each rule."""
    runs = [trained("safeguard", attack, seed) for seed in seeds]
    caught = sum(set(BYZANTINE) <= set(who) for _, who in runs)
    innocent = sum(len(set(who) - set(BYZANTINE)) for _, who in runs)
    last = max((when for _, who in runs for when in who.values()), default=0)
    own = [100 * accuracy for accuracy, _ in runs]
    cells = [attack, f"{caught} of {len(runs)}", str(innocent), f"{last} ({LATEST[attack]})"]
    cells.append(f"{min(own):.1f} to {max(own):.1f}")
    cells.append(accuracies("zeno", attack, seeds, byzantine=4))
    cells.append(accuracies("sync", attack, seeds))
    cells.append(accuracies("median", attack, seeds) if attack == "zero" else "")
    cells.append(accuracies("krum", attack, seeds, byzantine=3) if attack in ("zero", "scaled") else "")
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    seeds = range(int(sys.argv[1]) if len(sys.argv) > 1 else 4)
    heads = [
        "attack",
        "all 4 caught",
        "innocent",
        "last by round (limit)",
        "safeguard",
        "zeno",
        "mean",
        "median",
    ]
    print("| " + " | ".join([*heads, "krum (f = 3)"]) + " |")
    print("|" + "---|" * 9)
    for attack in LATEST:
        print(row(attack, seeds), flush=True)


if __name__ == "__main__":
    main()
