"""`asgd evaluate`: measures the job's answer every now and then, and once more at the end, on the weights it pulls.

The answer of the A-SGD family is the centre. Buffers are not parameters; `spec.buffers` says whose the answer
has (`buffers.py`, `batch_norm.py`). At the end the evaluator leaves what of the model's state_dict is no trained
parameter in ASGD_EXTRAS, so that the saved model is whole. With `algorithm.name: zeno` it is the oracle as well.
"""

from __future__ import annotations

import json
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError

from asgd import exitcodes
from asgd.algorithms.gathering import shard_cuts
from asgd.algorithms.registry import halves
from asgd.errors import TryAgain, UserError
from asgd.host.env import ProcessConfig, read_config
from asgd.host.exporter import Exporter, Views
from asgd.host.priority import stand_back
from asgd.host.say import say
from asgd.host.warned import tell_warnings
from asgd.kernel import F32
from asgd.loggers.beside import Beside
from asgd.server.evaluations import wanted_metrics
from asgd.spec.evaluators import may_evaluate
from asgd.spec.types import AVERAGE_PREFIX
from asgd.task import Task
from asgd.wire.ask import Asker
from asgd.wire.limits import TEXT_MOST
from asgd.wire.messages import Command, Done, Evaluated, Fault, Message
from asgd.wire.partition import by_name
from asgd.worker import left
from asgd.worker.agenda import Agenda
from asgd.worker.averaged import Averaged
from asgd.worker.best_keeper import BestKeeper
from asgd.worker.device import extras as state
from asgd.worker.device.accelerator import Staging, choose_device, limit_threads
from asgd.worker.device.batch_norm import recompute
from asgd.worker.device.buffers import Buffers
from asgd.worker.device.flat import Flat
from asgd.worker.device.modes import start_training
from asgd.worker.meters import Meters
from asgd.worker.oracle import Oracle, OracleLink
from asgd.worker.process import catch_term
from asgd.worker.sending.centre import open_centre
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from asgd.worker.sending.heartbeat import Heartbeat
from asgd.worker.sending.patience import Patience
from asgd.worker.task.agreeing import Looked, look
from asgd.worker.task.build import build_task
from asgd.worker.task.calling import Calling
from asgd.worker.task.first_loss import first_loss
from asgd.worker.task.measuring import measured
from asgd.worker.told_evaluator import EvaluatorTold

POLL_SECONDS = 0.05
HEAR_SECONDS = 0.1
"""Pause between two questions to shard 0, which tells in its answer that an evaluation by updates or epochs is due."""
TELL_SECONDS = 30.0


class Evaluator:
    """Pulls the answer into `task.model` and measures it."""

    def __init__(self, config: ProcessConfig, task: Task, looked: Looked) -> None:
        spec = config.job.spec
        device = choose_device(spec.evaluation.devices.count, config.index)
        self.config, self.task = config, task
        self.flat = Flat(task.model, device)
        identity = PeerIdentity(
            job=config.job.name,
            role="evaluator",
            index=0,
            incarnation=config.incarnation,
            size=self.flat.size,
            layout=self.flat.hash,
            tensors=json.dumps(self.flat.layout).encode(),
            digest=looked.digest(first_loss(task, spec, self.flat, looked.raw)),
            cuts=shard_cuts(spec, self.flat.layout, len(config.servers)),
        )
        patience = Patience(config.join_timeout_seconds)
        self.centre = open_centre(
            config.servers, config.keys, identity, spec.codec, patience=patience, lane=spec.exchange.lane
        )
        self._device, self._buffers = device, Buffers(task.model)
        self._staging = Staging(self.flat.size, device)
        self.heartbeat = Heartbeat(config.servers[0], config.keys, identity, pause_seconds=HEAR_SECONDS)
        self.heartbeat.start()
        self._asker = Asker(config.servers[0], config.keys)
        self._callbacks = EvaluatorTold(
            config.job.name, Calling(task, self.flat), self._asker, lambda: self.heartbeat.heard
        )
        self.average = Averaged(self.flat.size, device) if spec.evaluation.ema is not None else None
        self.measured = -1
        self.best: BestKeeper | None = None
        if config.checkpoint and spec.checkpoint.best and task.evaluate:
            self.best = BestKeeper(config)
        self.oracle: OracleLink | None = None
        if halves(spec).strategy.oracle:
            oracle = Oracle(spec, task, self.flat, device)
            self.oracle = OracleLink(config.servers[0], config.keys, oracle, self._contribution)

    def _contribution(self, worker: int) -> F32:
        """What `worker` gave to the open round (N,), -1 for the centre."""
        self.centre.exchange(None, self._staging.host, PushHeader(of=worker))
        return self._staging.host

    def measure(self, final: bool) -> bool:
        """Pulls, evaluates and reports; weights that were measured already are not measured again.

        At the end they are: what workers leave at parting makes no version. Returns whether they were measured now.
        """
        outcome = self.centre.pull(self._staging.host)
        version = self.centre.channels[0].version
        fresh = final or version != self.measured
        if fresh:
            averaged = self._measure_average(final) if self.average else None
            self.flat.load(self._staging.on_device())
            self.metrics, self.error = self._evaluated()
            if averaged:
                self.metrics, self.error = self.metrics | averaged[0], self.error or averaged[1]
            self.measured = version
        if final and self.config.extras and self.task.evaluate:
            self._save_extras(self.config.extras)
        result = Evaluated(version, outcome.samples, self.metrics, final, error=self.error[:TEXT_MOST])
        if self.best:
            result = self._keep_best(self.best, result, fresh)
        failed = self._callbacks.evaluated(result) if fresh else ""
        if failed:
            # NB: what was measured counts all the same.
            self._tell(msgspec.structs.replace(result, final=False))
            result = msgspec.structs.replace(result, metrics={}, error=failed[:TEXT_MOST])
        self._tell(result)
        return fresh

    def _measure_average(self, final: bool) -> tuple[dict[str, float], str]:
        """The moving average as of right after the pull: its metrics with their prefix, and why there are none.

        NB: before the weights themselves, whose buffers are the model's in the end.
        """
        average = self.average
        assert average is not None
        average.pull(self.centre)
        self.flat.load(average.staging.on_device())
        found, error = self._evaluated(lambda: recompute(self.task, self.config.job.spec, self._device))
        average.whole = state.whole_model(self.task.model, by_name(average.staging.host, self.flat.layout))
        if final and self.config.extras and self.task.evaluate:
            self._save_extras(left.of_average(self.config.extras))
        return {AVERAGE_PREFIX + name: value for name, value in found.items()}, error

    def _keep_best(self, best: BestKeeper, result: Evaluated, fresh: bool) -> Evaluated:
        """Keeps the weights that were measured if they are the best; what is to be told then.

        NB: shard 0 knows what they are called, and waits for no more once it has heard of the final ones.
        """
        if fresh:
            answer = self._tell(msgspec.structs.replace(result, final=False))
            updates = int(answer.body) if isinstance(answer, Done) and answer.body else result.version
            best.offer(result.metrics, updates, result.samples, self._whole)
        return msgspec.structs.replace(result, best=best.report, trouble=best.trouble)

    def _whole(self) -> state.WholeModel:
        """The model as it was measured: the weights are those that were pulled, to the bit."""
        if (
            self.average
            and self.average.whole
            and self.best
            and self.best.rule.metric.startswith(AVERAGE_PREFIX)
        ):
            return self.average.whole
        return state.whole_model(self.task.model, by_name(self._staging.host, self.flat.layout))

    def _evaluated(self, settle: Callable[[], None] | None = None) -> tuple[dict[str, float], str]:
        """The metrics, or why there are none; `settle` puts the buffers in place, by default as `spec.buffers` says.

        NB: the next evaluation may go well; a process that ended would only be started again for it.
        """
        try:
            return self._evaluate(settle or self._settle), ""
        except UserError as error:
            traceback.print_exception(error.__cause__ or error)
            return {}, str(error)

    def _save_extras(self, path: Path) -> None:
        """Without them the run's model file names what it lacks; the evaluation counts all the same."""
        try:
            state.save_extras(self.task.model, {name for name, _ in self.flat.layout}, path)
        except (OSError, SafetensorError) as error:
            say(f"{path} cannot be written: {error}")

    def _tell(self, result: Evaluated) -> Message:
        """Tells shard 0; one that has just been started knows this evaluator by its next heartbeat."""
        deadline = time.monotonic() + TELL_SECONDS
        while isinstance(answer := self._asker.ask(result, TELL_SECONDS), Fault):
            if time.monotonic() >= deadline:
                break
            time.sleep(POLL_SECONDS)
        return answer

    def _evaluate(self, settle: Callable[[], None]) -> dict[str, float]:
        task = self.task
        if task.evaluate is None:
            return {}
        with torch.no_grad():
            settle()
        return measured(task)

    def _settle(self) -> None:
        spec = self.config.job.spec
        if not self._buffers.settle(spec.buffers, self._told()):
            recompute(self.task, spec, self._device)

    def _told(self) -> list[bytes]:
        """The buffers that shard 0 has of the workers."""
        if self.config.job.spec.buffers == "recompute" or not self._buffers.size:
            return []
        answer = self._asker.ask(Command("buffers"), TELL_SECONDS)
        return msgspec.msgpack.decode(answer.body, type=list[bytes]) if isinstance(answer, Done) else []

    def rest(self, seconds: float) -> None:
        """Until it is time to look again; an oracle answers meanwhile."""
        if failed := self._callbacks.look():
            self._tell(Evaluated(max(self.measured, 0), 0, {}, False, error=failed[:TEXT_MOST]))
        if self.oracle:
            self.oracle.serve(seconds)
        else:
            time.sleep(seconds)

    def close(self) -> None:
        """Says goodbye."""
        if self.oracle:
            self.oracle.close()
        self.heartbeat.close()
        self.centre.leave()
        self._asker.close()


def main() -> int:
    """Runs the evaluator as its environment says. Raises UserError, TryAgain."""
    config = read_config()
    tell_warnings()
    limit_threads(config.job.spec)
    leaving = catch_term()
    loggers, spec = Beside.begin(config), config.job.spec
    if not may_evaluate(spec):
        return _nothing(loggers, leaving, f"{spec.entrypoint} is a script, which evaluates by itself")
    task = build_task(spec)
    if task.evaluate is None and not halves(spec).strategy.oracle:
        why = f"{spec.entrypoint} returns a Task without `evaluate`"
        for field in wanted_metrics(spec):
            raise UserError(f"spec.{field.rpartition('.')[0]}: {why}")
        return _nothing(loggers, leaving, why)
    looked = look(task)
    start_training(task.model)
    evaluator = Evaluator(config, task, looked)
    if not evaluator.oracle:
        # NB: workers may share these cores, as with `asgd run`; for an oracle's answers they wait.
        stand_back()
    exporter = Exporter(config.metrics, Views(collect=Meters().collect))
    config.announce_address("evaluator", exporter.address)
    evaluator.centre.join()
    final = watch(evaluator, lambda: bool(leaving))
    evaluator.close()
    exporter.close()
    if loggers:
        loggers.close()
    # NB: one that was told to leave before the end has to come back, elsewhere perhaps.
    return exitcodes.DONE if final else exitcodes.DRAINED


def _nothing(loggers: Beside | None, leaving: list[int], why: str) -> int:
    """There is nothing to evaluate, which is no fault; loggers are looked after until the job is over.

    NB: a task has an evaluator's pod before anybody has seen its code.
    """
    if loggers:
        return loggers.alone(lambda: bool(leaving))
    say(f"nothing is evaluated: {why}")
    return exitcodes.DONE


def watch(evaluator: Evaluator, leaving: object) -> bool:
    """Measures when `evaluation` says so until training is over, then the final weights.

    Returns whether it came to those.
    """
    assert callable(leaving)
    agenda = Agenda(evaluator.config.job.spec.evaluation.seconds)
    while not leaving():
        heard = evaluator.heartbeat.heard
        if heard.final:
            evaluator.measure(final=True)
            return True
        if agenda.due(heard, time.monotonic()):
            try:
                agenda.measured(heard, evaluator.measure(final=False), time.monotonic())
            except TryAgain:
                continue
        evaluator.rest(POLL_SECONDS)
    return False
