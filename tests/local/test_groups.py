"""Parameter groups on real processes: said at the start, replayed to the bit, kept over a resumed run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.local.run import Run
from tests.local.test_replay import assert_equal

pytestmark = pytest.mark.timeout(120)

SPEC: dict[str, Any] = {
    "entrypoint": "asgd.examples.digits:task", "args": {"model": "mlp"}, "workers": {"replicas": 2},
    "parameterServer": {"shards": 2}, "stopAfter": {"updates": 30}, "evaluation": {"everySeconds": 0},
    "optimizer": {
        "learningRate": 0.05, "weightDecay": 0.01,
        "groups": [{"match": "*.bias", "weightDecay": 0, "momentum": 0.5}, {"match": "3.*", "learningRate": "2x"}],
    },
}  # fmt: skip


@pytest.mark.slow
def test_a_run_with_groups_says_them_once_and_is_replayed_to_the_bit(tmp_path: Path) -> None:
    with Run(tmp_path, SPEC).start() as run:
        assert run.wait() == 0, run.words()
        line = (
            "parameter groups: *.bias (momentum 0.5, weightDecay 0): 2 tensors, 74 parameters;"
            " 3.* (learningRate 2x): 1 tensor, 640 parameters; all others: 1 tensor, 4,096 parameters"
        )
        assert run.words().count(line) == 1, run.words()
        assert_equal(run)


def test_a_group_without_a_parameter_ends_a_run_before_anything_starts(tmp_path: Path) -> None:
    groups = [{"match": "heat.*", "weightDecay": 0}]
    with Run(tmp_path, SPEC | {"optimizer": {"groups": groups}}).start() as run:
        assert run.wait() == 2
        assert "spec.optimizer.groups[0].match: heat.* matches no parameter that is trained" in run.words()
        assert not (run.output / "summary.json").exists()
