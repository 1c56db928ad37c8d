"""A worker's vectors on its device: what is found to be finite."""

from __future__ import annotations

import pytest
import torch

from asgd.worker.device.vectors import finite_on_device

DEVICES = [
    "cpu",
    pytest.param("cuda", marks=pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")),
]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("place", [0, 5000, 9999])
@pytest.mark.parametrize(
    ("value", "finite"),
    [(float("nan"), False), (float("inf"), False), (-float("inf"), False), (3e38, True), (0.0, True)],
)
def test_one_element_that_is_inf_or_nan_is_found_and_large_ones_are_not_taken_for_it(
    device: str, place: int, value: float, finite: bool
) -> None:
    vector = torch.full((10000,), 2e38, device=device)
    vector[place] = value
    assert finite_on_device(vector) is finite
