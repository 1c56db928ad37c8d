"""A checkpoint of another model is refused before anything starts, by the parameter that differs."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from asgd.drivers.local import precheck
from asgd.errors import UserError
from asgd.worker.task.check import Findings
from tests.checks.virtual import job


def test_a_checkpoint_of_another_model_is_told_by_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    saved = SimpleNamespace(layout="a", size=2, tensors=[("head.weight", [2])])
    monkeypatch.setattr(precheck, "take", lambda *_: (None, "out/checkpoints/000002", saved))
    built = Findings(layout="b", size=3, tensors=[("head.weight", [3])])
    with pytest.raises(UserError, match=r"^spec\.checkpoint\.restore: out/checkpoints/000002 holds") as error:
        precheck.check_checkpoint(job(), built, "memory:", "run", lambda _: None)
    assert ": parameter head.weight has shape [3], and [2] in the checkpoint; allowed: the same" in str(
        error.value
    )
