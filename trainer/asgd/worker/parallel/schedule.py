"""What a stage does in which order: 1F1B (PipeDream-flush; Narayanan et al. 2019, 2021).

A stage goes forward on as many micro-batches as there are stages behind it, then one forward, one backward in turn.
So stage s of S never holds more than S - s micro-batches, however many a batch has, and every stage goes backward in
the order 0, 1, 2, ...: gradients add up in the order in which one device would add them, hence to the same bits.
"""

from __future__ import annotations

from typing import Literal, NamedTuple


class Action(NamedTuple):
    """One stage's pass over one micro-batch."""

    way: Literal["forward", "backward"]
    part: int


def one_forward_one_backward(stage: int, stages: int, parts: int) -> list[Action]:
    """All actions of `stage` (0..stages-1) for a batch of `parts` micro-batches."""
    ahead = min(parts, stages - 1 - stage)
    actions = [Action("forward", part) for part in range(ahead)]
    for part in range(parts):
        if part + ahead < parts:
            actions.append(Action("forward", part + ahead))
        actions.append(Action("backward", part))
    return actions
