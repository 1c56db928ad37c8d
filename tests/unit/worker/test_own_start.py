"""Whether a job has been trained before a script joins it: asked of shard 0, within bounds."""

from __future__ import annotations

from typing import Any, cast

import msgspec
import pytest
import zmq

from asgd.errors import TryAgain
from asgd.wire.ask import Asker
from asgd.wire.messages import AnyMessage, Command, Done
from asgd.worker.own.start import has_been_trained


class Shard:
    """Answers each question by the next status."""

    def __init__(self, *answers: dict[str, Any]) -> None:
        self.answers = list(answers)

    def ask(self, message: Command, patience_seconds: float) -> AnyMessage:
        assert message.verb == "status"
        return Done(msgspec.json.encode(self.answers.pop(0)))


@pytest.mark.parametrize(
    ("status", "trained"),
    [
        ({"phase": "starting", "updates": 0, "stopReason": ""}, False),
        ({"phase": "running", "updates": 3, "stopReason": ""}, True),
        ({"phase": "stopping", "updates": 0, "stopReason": "stopped"}, True),
    ],
)
def test_a_job_with_updates_or_an_end_has_been_trained(status: dict[str, Any], trained: bool) -> None:
    assert has_been_trained(cast(Any, Shard({}, status)), 1.0) is trained


def test_a_shard_that_stays_silent_is_not_waited_for_for_ever() -> None:
    with zmq.Context() as context, context.socket(zmq.ROUTER) as silent:
        port = silent.bind_to_random_port("tcp://127.0.0.1")
        asker = Asker(f"tcp://127.0.0.1:{port}", None)
        with pytest.raises(TryAgain, match="has not answered"):
            has_been_trained(asker, 0.2)
        asker.close()
