"""An explanation as a person reads it, or as a program does. Pure."""

from __future__ import annotations

from typing import Any

from asgd.client.explain.kinds import Explanation


def lines(found: Explanation) -> list[str]:
    """The sentence, the fix, the command; what else was found."""
    told = [found.sentence]
    if found.fix:
        told.append(f"Fix: {found.fix}")
    told.append(f"  {found.command}")
    return told + [f"Also: {sentence}" for sentence in found.also]


def document(found: Explanation) -> dict[str, Any]:
    """As `-o json` prints it."""
    return {
        "verdict": found.verdict.value,
        "cause": found.kind.value,
        "sentence": found.sentence,
        "fix": found.fix,
        "command": found.command,
        "field": f"spec.{found.field}" if found.field else "",
        "also": [*found.also],
    }
