"""Every option x every strategy trains as its plain twin does, or is refused by a sentence that names a field."""

from __future__ import annotations

from collections.abc import Iterable

import pytest

from asgd.algorithms.registry import names
from asgd.spec.optimizers import FIELDS
from asgd.spec.problems import JobError
from tests.checks.crossings import (
    OPTIMIZERS,
    OPTIMIZERS_LEFT,
    STRATEGIES,
    Cell,
    few,
    pairs,
    rules,
    run,
    singles,
    trained,
)

pytestmark = pytest.mark.timeout(600)


def wrong(cells: Iterable[Cell]) -> list[str]:
    """What there is to say about those that neither train nor are refused by a field's name."""
    found = []
    for cell in cells:
        outcome = run(cell)
        if not outcome.good:
            found.append(
                f"{cell}: {outcome.left:.4f} of the excess loss is left, at most {outcome.bound:.4f}"
            )
        elif outcome.refused and not outcome.refused.startswith("spec."):
            found.append(f"{cell}: {outcome.refused}")
    return found


def untrained(cells: Iterable[Cell]) -> list[str]:
    """Cells with another optimizer that neither train nor are refused by a field's name."""
    found = []
    for cell in cells:
        try:
            left = trained(cell, 0)
        except JobError as error:
            if not str(error).startswith("spec.optimizer"):
                found.append(f"{cell}: {error}")
            continue
        if left > OPTIMIZERS_LEFT:
            found.append(f"{cell}: {left:.4f} of the excess loss is left")
    return found


def test_every_optimizer_stands_among_the_rules() -> None:
    assert {"sgd", *(rule.name.removeprefix("optimizer ") for rule in OPTIMIZERS)} == set(FIELDS)


def test_an_eighth_of_the_optimizers_train_under_their_strategies_or_are_refused() -> None:
    assert untrained(cell for place, cell in enumerate(rules()) if (3 * place + place // 8) % 8 == 0) == []


@pytest.mark.slow
def test_every_optimizer_trains_under_every_strategy_or_is_refused() -> None:
    assert untrained(rules()) == []


def test_every_strategy_stands_in_the_matrix() -> None:
    assert {name.split(",")[0] for name in STRATEGIES} == set(names())


@pytest.mark.slow
def test_an_eighth_of_the_options_of_each_strategy_train_as_their_plain_twins_or_are_refused() -> None:
    assert wrong(few()) == []


@pytest.mark.slow
def test_every_option_of_every_strategy_trains_as_its_plain_twin_or_is_refused() -> None:
    assert wrong(singles()) == []


@pytest.mark.slow
@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_two_options_of_a_strategy_train_as_their_plain_twin_or_are_refused(strategy: str) -> None:
    assert wrong(pairs(strategy)) == []
