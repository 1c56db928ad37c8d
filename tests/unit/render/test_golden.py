"""What is rendered is what was reviewed."""

from __future__ import annotations

import pytest

from tests.unit.render import golden


@pytest.mark.parametrize("name", golden.names())
def test_a_job_renders_as_its_reviewed_yaml(name: str) -> None:
    reviewed = (golden.GOLDEN / f"{name}.yaml").read_text(encoding="utf-8")
    assert golden.text(name) == reviewed, (
        "if the change is meant: python -m tests.unit.render.golden, and read the diff"
    )


def test_no_golden_file_is_left_behind_by_a_removed_job() -> None:
    assert sorted(path.stem for path in golden.GOLDEN.glob("*.yaml")) == golden.names()
