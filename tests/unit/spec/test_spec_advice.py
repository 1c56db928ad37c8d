"""The warning about momentum rests on the stability limits of algorithms' table 2e."""

from __future__ import annotations

import pytest

from asgd.spec.advice import advice, stable_learning_rate
from tests.checks.virtual import job

TABLE = {
    0: (2.0, 3.0, 3.8),
    1: (1.0, 0.5, 0.1),
    2: (0.6180, 0.2808, 0.0513),
    3: (0.4450, 0.1993, 0.0348),
    4: (0.3473, 0.1559, 0.0265),
    8: (0.1845, 0.0851, 0.0139),
    15: (0.1013, 0.0480, 0.0079),
}


@pytest.mark.parametrize("staleness", TABLE)
def test_the_stable_learning_rate_is_that_of_the_table(staleness: int) -> None:
    found = [stable_learning_rate(momentum, staleness) for momentum in (0.0, 0.5, 0.9)]
    assert found == pytest.approx(TABLE[staleness], abs=1.1e-4)


@pytest.mark.parametrize(("momentum", "staleness"), [(0.0, 3), (0.9, 3), (0.5, 7), (0.3, 0)])
def test_descent_on_a_quadratic_converges_below_the_limit_and_diverges_above(
    momentum: float, staleness: int
) -> None:
    limit = stable_learning_rate(momentum, staleness)
    assert descend(0.97 * limit, momentum, staleness) < 1
    assert descend(1.03 * limit, momentum, staleness) > 1


def descend(rate: float, momentum: float, staleness: int) -> float:
    """|x| after 3000 steps of heavy ball on x^2/2 from x = 1, with gradients of `staleness` steps ago."""
    xs = [1.0] * (staleness + 2)
    for _ in range(3000):
        xs.append(xs[-1] + momentum * (xs[-1] - xs[-2]) - rate * xs[-1 - staleness])
        if abs(xs[-1]) > 1e6:
            break
    return abs(xs[-1])


def said(**spec: object) -> list[str]:
    return advice(job(**spec))


def test_safeguard_without_floors_of_its_own_is_told_how_to_get_them() -> None:
    (line,) = said(algorithm={"name": "safeguard"})
    assert "calibrate" in line and "shortFloor" in line
    assert said(algorithm={"name": "safeguard", "calibrate": 270}) == []
    assert said(algorithm={"name": "safeguard", "shortFloor": 1.2, "longFloor": 1.3}) == []


def test_pulls_that_lag_are_warned_of_where_rounds_begin_with_them() -> None:
    (line,) = said(algorithm={"name": "local-sgd"}, codec={"pull": "topk"})
    assert line.startswith("spec.codec.pull: topk with local-sgd")
    assert said(algorithm={"name": "local-sgd"}, codec={"pull": "int8"}) == said(codec={"pull": "topk"}) == []


NAMES = [
    "nvidia.com/gpu", "nvidia.com/gpu.shared", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-1g.10gb.me", "amd.com/gpu",
    "amd.com/cpx_nps4", "gpu.intel.com/i915", "gpu.intel.com/xe",
]  # fmt: skip
"""As the device plugins of NVIDIA, AMD and Intel advertise them."""


@pytest.mark.parametrize("name", NAMES)
def test_any_name_of_a_gpu_may_be_asked_for(name: str) -> None:
    lines = said(workers={"devices": {"count": 1, "resourceName": name}})
    assert len(lines) == name.startswith("gpu.intel.com"), lines


def test_a_gpu_among_the_limits_is_not_one_that_is_trained_on() -> None:
    (line,) = said(workers={"resources": {"limits": {"memory": "1Gi", "nvidia.com/mig-1g.10gb": 1}}})
    assert line.startswith("spec.workers.resources.limits: nvidia.com/mig-1g.10gb is taken")
    assert "workers.devices: {count: 1, resourceName: nvidia.com/mig-1g.10gb}" in line
    assert said(workers={"resources": {"limits": {"memory": "1Gi", "rdma/hca": 1}}}) == []


@pytest.mark.parametrize(
    ("name", "why"), [("nvidia.com/mig-1g.10gb", "one MIG slice only"), ("nvidia.com/gpu.shared", "take 1")]
)
def test_several_slices_or_shares_are_warned_of(name: str, why: str) -> None:
    (line,) = said(workers={"devices": {"count": 2, "resourceName": name}})
    assert line.startswith(f"spec.workers.devices.count: 2 of {name}") and why in line
    (line,) = said(evaluation={"devices": {"count": 2, "resourceName": name}})
    assert line.startswith("spec.evaluation.devices.count: 2 of ")
    assert said(workers={"devices": {"count": 2}}) == []
