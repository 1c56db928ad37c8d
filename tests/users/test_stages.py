"""What this version cannot do is refused before anything starts, never ignored."""

from __future__ import annotations

import pytest

from asgd.drivers.probe import look
from asgd.errors import UserError
from asgd.spec.types import Devices, JobSpec, Workers


@pytest.mark.parametrize("workers", [Workers(stages=2), Workers(devices=Devices(count=2))])
def test_a_model_over_several_devices_of_a_worker_is_refused(workers: Workers) -> None:
    with pytest.raises(UserError, match=r"spec\.workers\.stages: 2 .* allowed: 1"):
        look(JobSpec(entrypoint="asgd.examples.digits:task", workers=workers))
