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
from asgd.wire.ask import Asker
from asgd.wire.messages import Beaten, Command, Done, Evaluated
from asgd.wire.reports import SaveReport
from asgd.worker.task.calling import CallbackFailed, Calling
from asgd.worker.users_code import sentence

LOOK_SECONDS = 1.0
ANSWER_SECONDS = 5.0
LAST_SECONDS = 30.0
"""So long shard 0 is asked for the job's last saves: who ends without them can't tell of them any more."""


class EvaluatorTold:
    """Of the job `job`; `heard`: what shard 0 has answered to the newest heartbeat."""

    def __init__(
        self, job: str, calling: Calling, asker: Asker, heard: Callable[[], Beaten],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._job, self._calling, self._asker, self._heard, self._clock = job, calling, asker, heard, clock
        self._due = 0.0
        self._told = 0
        """Number of the newest save that was told."""
        self._measured = 0, 0
        """Version and samples of the weights."""

    def evaluated(self, result: Evaluated) -> str:
        """`result` was measured just now, for the last time if it is final.

        Returns what of the callbacks has failed, a sentence; '' for nothing. Raises TryAgain when shard 0 doesn't
        tell the job's last saves.
        """
        self._measured = result.version, result.samples
        troubles = []
        if result.final:
            # NB: training is over for an evaluator only when the job's last save is complete, or given up.
            troubles.append(self.look(last=True))
        if not result.error and result.metrics:
            troubles.append(self._call(ON_EVALUATE, lambda: self._evaluation(result)))
        if result.final:
            troubles.append(self._call(ON_END, lambda: End(**self._common(), reason=self._heard().stop)))
        return next(filter(None, troubles), "")

    def _evaluation(self, result: Evaluated) -> Evaluation:
        return Evaluation(**self._common(), metrics=dict(result.metrics), final=result.final)

    def look(self, *, last: bool = False) -> str:
        """Tells the saves that are new in the store: once a second, or at once where no other look follows (`last`).

        Returns as `evaluated`. Raises TryAgain with `last` alone.
        """
        wanted = self._calling.wanted(ON_CHECKPOINT) and self._heard().saved > self._told
        if not wanted or (self._clock() < self._due and not last):
            return ""
        self._due = self._clock() + LOOK_SECONDS
        try:
            answer = self._asker.ask(Command("saves"), LAST_SECONDS if last else ANSWER_SECONDS)
        except TryAgain:
            if last:
                raise
            return ""
        saves = msgspec.msgpack.decode(answer.body, type=list[SaveReport]) if isinstance(answer, Done) else []
        troubles = [self._saved(save) for save in saves if save.number > self._told]
        return next(filter(None, troubles), "")

    def _saved(self, save: SaveReport) -> str:
        self._told = save.number
        return self._call(
            ON_CHECKPOINT,
            lambda: Checkpoint(**self._common(), uri=save.uri, saved_updates=save.updates, bytes=save.bytes),
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
