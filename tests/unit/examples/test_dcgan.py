"""The DCGAN example: its measure, its two models and its picture."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from asgd.examples import dcgan


def test_the_distance_of_drawings_is_zero_to_themselves_and_grows_with_what_differs() -> None:
    draw = torch.Generator().manual_seed(0)
    ours, like, unlike = (torch.rand(400, 1, 28, 28, generator=draw) * span for span in (1, 1, 0.5))
    assert dcgan.distance(ours, ours) == pytest.approx(0, abs=1e-6)
    assert dcgan.distance(ours, like) < 0.1 * dcgan.distance(ours, unlike)


def test_generator_and_critic_fit_each_other_and_a_grid_is_one_picture(tmp_path: Path) -> None:
    from matplotlib.image import imread

    torch.manual_seed(0)
    pictures = dcgan.drawn(dcgan.generator(), 20)
    assert pictures.shape == (20, 1, 28, 28) and pictures.abs().max() <= 1
    assert dcgan.critic()(pictures).shape == (20,)
    dcgan.save_grid(str(tmp_path / "grid.png"), pictures)
    assert imread(tmp_path / "grid.png").shape[:2] == (56, 280)
