"""Updates are counted in fractions between the times at which they came back."""

from __future__ import annotations

import pytest

from asgd_bench.busy import between
from asgd_bench.system import Failed


def test_an_update_that_spans_a_moment_counts_by_its_share() -> None:
    assert between([1.0, 2.0, 3.0, 4.0], 1.5, 3.25) == pytest.approx(1.75)
    assert between([0.0, 1.0, 5.0], 1.0, 2.0) == pytest.approx(0.25)


def test_a_window_that_the_updates_do_not_span_is_no_figure() -> None:
    for times in ([], [1.0], [1.5, 3.0], [0.5, 1.9]):
        with pytest.raises(Failed, match="too slow"):
            between(times, 1.0, 2.0)
