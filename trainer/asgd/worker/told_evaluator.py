"""What the evaluator tells its task's callbacks: evaluations, checkpoints and its end.

A callback that raises here is told as an evaluation that failed: training goes on.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from asgd.callbacks import ON_CHECKPOINT, ON_END, ON_EVALUATE, Checkpoint, End, Evaluation
from asgd.errors import AsgdError, TryAgain
from asgd.spec.status import Status
from asgd.wire.ask import Asker
from asgd.wire.messages import Beaten, Command, Done, Evaluated
from asgd.worker.task.calling import CallbackFailed, Calling
from asgd.worker.users_code import sentence

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 5.0


class EvaluatorTold:
    """Of the job `job`; `heard`: what shard 0 has answered to the newest heartbeat."""

    def __init__(
        self, job: str, calling: Calling, asker: Asker, heard: Callable[[], Beaten],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._job, self._calling, self._asker, self._heard, self._clock = job, calling, asker, heard, clock
        self._due = 0.0
        self._uri = ""
        self._measured = 0, 0
        """Version and samples of the weights."""

    def evaluated(self, result: Evaluated) -> str:
        """`result` was measured just now, for the last time if it is final.

        Returns what of the callbacks has failed, a sentence; '' for nothing.
        """
        self._measured = result.version, result.samples
        troubles = []
        if result.final:
            troubles.append(self.look(at_once=True))
        if not result.error and result.metrics:
            troubles.append(self._call(ON_EVALUATE, lambda: self._evaluation(result)))
        if result.final:
            troubles.append(self._call(ON_END, lambda: End(**self._common(), reason=self._heard().stop)))
        return next(filter(None, troubles), "")

    def _evaluation(self, result: Evaluated) -> Evaluation:
        return Evaluation(**self._common(), metrics=dict(result.metrics), final=result.final)

    def look(self, *, at_once: bool = False) -> str:
        """Whether there is a new checkpoint, once a second or `at_once`. Returns as `evaluated`."""
        if not self._calling.wanted(ON_CHECKPOINT) or (self._clock() < self._due and not at_once):
            return ""
        self._due = self._clock() + LOOK_SECONDS
        try:
            answer = self._asker.ask(Command("status"), ANSWER_SECONDS)
        except TryAgain:
            return ""
        if not isinstance(answer, Done) or len(answer.body) <= len(b"{}"):
            return ""
        newest = msgspec.json.decode(answer.body, type=Status).checkpoint
        if newest is None or newest.uri == self._uri:
            return ""
        self._uri = newest.uri
        return self._call(
            ON_CHECKPOINT,
            lambda: Checkpoint(
                **self._common(), uri=newest.uri, saved_updates=newest.updates, bytes=newest.bytes
            ),
        )

    def _call(self, method: str, moment: Callable[[], Any]) -> str:
        try:
            self._calling.call(method, moment)
        except CallbackFailed as error:
            traceback.print_exception(error)
            return sentence(error).removeprefix(f"{CallbackFailed.__name__}: ")
        except AsgdError as error:
            return str(error)
        return ""

    def _common(self) -> dict[str, Any]:
        heard, (version, samples) = self._heard(), self._measured
        return {
            "job": self._job, "model": self._calling.model, "worker": None, "workers": heard.workers,
            "updates": version, "samples": samples, "epochs": samples / heard.dataset if heard.dataset else None,
        }  # fmt: skip
