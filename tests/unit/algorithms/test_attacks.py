"""Each way of lying, from the worker's own gradient or from what it knows of the others'."""

from __future__ import annotations

import numpy as np
import pytest

from asgd.algorithms.attacks import KINDS, OWN, Attack, Eavesdropper, attack_of, parse
from asgd.errors import UserError
from asgd.spec.schema import structural
from asgd.spec.types import Byzantine
from tests.checks.harness import job_spec

G = np.array([1.0, -2.0, 4.0], np.float32)


def lie(kind: str, vector: np.ndarray = G, **fields: int) -> list[float]:
    return [float(x) for x in Attack(Byzantine(kind, (0,), **fields), 0).spoil(vector)]


def test_lies_about_the_own_gradient() -> None:
    assert lie("sign-flip") == [-1, 2, -4]
    assert lie("zero") == [0, 0, 0]
    assert lie("scaled") == pytest.approx([-0.4, 0.8, -1.6])
    assert lie("label-flip") == [1, -2, 4]
    assert np.isnan(lie("nan")).all()
    assert np.std(lie("gaussian", np.zeros(10_000, np.float32))) == pytest.approx(200, rel=0.05)


def test_delayed_sends_what_was_so_many_steps_ago() -> None:
    attack = Attack(Byzantine("delayed", (0,), delay=3), 0)
    sent = [float(attack.spoil(np.array([step], np.float32))[0]) for step in range(6)]
    assert sent == [0, 0, 0, 1, 2, 3]


def test_label_flip_turns_the_labels_round_and_needs_some() -> None:
    attack = Attack(Byzantine("label-flip", (0,), largest_label=4), 0)
    inputs, labels = attack.study((G, np.array([0, 1, 4])))
    assert inputs is G and labels.tolist() == [4, 3, 0]
    with pytest.raises(UserError, match="label-flip needs batches of"):
        attack.study(G)
    assert Attack(Byzantine("zero", (0,)), 0).study(G) is G


@pytest.mark.parametrize(("kind", "expected"), [("variance", 2 - 0.3), ("inner", -4.0)])
def test_colluders_that_hear_the_honest_use_them(kind: str, expected: float) -> None:
    heard = Eavesdropper({0: np.array([1.0], np.float32), 1: np.array([3.0], np.float32)})
    attack = Attack(Byzantine(kind, (2,)), 2, heard)
    assert attack.spoil(np.array([100.0], np.float32)).tolist() == pytest.approx([expected])


def test_colluders_that_hear_nobody_take_their_own_last_gradients_for_the_others() -> None:
    attack = Attack(Byzantine("inner", (0,)), 0)
    sent = [float(attack.spoil(np.array([float(step)], np.float32))[0]) for step in range(2 * OWN)]
    assert sent[0] == 0 and sent[1] == -1.0
    assert sent[-1] == pytest.approx(-2 * np.mean(range(OWN, 2 * OWN)))


def test_the_spec_says_who_lies_and_how() -> None:
    spec = job_spec(chaos={"byzantine": [{"attack": "zero", "workers": [1, 3]}]})
    assert [bool(attack_of(spec, worker)) for worker in range(4)] == [False, True, False, True]


def test_the_api_knows_every_attack() -> None:
    chaos = structural()["properties"]["spec"]["properties"]["chaos"]
    attack = chaos["properties"]["byzantine"]["items"]["properties"]["attack"]
    assert attack["enum"] == list(KINDS)


@pytest.mark.parametrize("text", ["lie:1", "zero", "zero:", "zero:4", "zero:1,x"])
def test_a_wrong_option_is_told_in_one_sentence(text: str) -> None:
    with pytest.raises(UserError, match=r"--attack: .* must be KIND:INDEX,INDEX with indices below 4"):
        parse(text, 4)
