"""`asgd evaluate`: measures the job's answer every now and then, and once more at the end, on the weights it pulls.

The answer of the A-SGD family is the centre. Buffers are not parameters; `spec.buffers` says whose the answer
has (`buffers.py`, `batch_norm.py`). At the end the evaluator leaves what of the model's state_dict is no trained
parameter in ASGD_EXTRAS, so that the saved model is whole. With `algorithm.name: zeno` it is the oracle as well.
"""

from __future__ import annotations

import json
import time
import traceback
from pathlib import Path

import msgspec
import torch
from safetensors import SafetensorError

from asgd import exitcodes
from asgd.algorithms.registry import halves
from asgd.errors import TryAgain, UserError
from asgd.host.env import ProcessConfig, read_config
from asgd.host.exporter import Exporter, Views
from asgd.host.priority import stand_back
from asgd.host.say import say
from asgd.host.warned import tell_warnings
from asgd.kernel import F32
from asgd.task import Task
from asgd.wire.ask import Asker
from asgd.wire.limits import TEXT_MOST
from asgd.wire.messages import Command, Done, Evaluated, Fault
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
from asgd.worker.task.first_loss import first_loss
from asgd.worker.task.measuring import measured

POLL_SECONDS = 0.05
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
        )
        patience = Patience(config.join_timeout_seconds)
        self.centre = open_centre(
            config.servers, config.keys, identity, spec.codec, patience=patience, lane=spec.exchange.lane
        )
        self._device, self._buffers = device, Buffers(task.model)
        self._staging = Staging(self.flat.size, device)
        self.heartbeat = Heartbeat(config.servers[0], config.keys, identity)
        self.heartbeat.start()
        self._asker = Asker(config.servers[0], config.keys)
        self.measured = -1
        self.oracle: OracleLink | None = None
        if halves(spec).strategy.oracle:
            oracle = Oracle(spec, task, self.flat, device)
            self.oracle = OracleLink(config.servers[0], config.keys, oracle, self._contribution)

    def _contribution(self, worker: int) -> F32:
        """What `worker` gave to the open round (N,), -1 for the centre."""
        self.centre.exchange(None, self._staging.host, PushHeader(of=worker))
        return self._staging.host

    def measure(self, final: bool) -> None:
        """Pulls, evaluates and reports; weights that were measured already are not measured again.

        At the end they are: what workers leave at parting makes no version.
        """
        outcome = self.centre.pull(self._staging.host)
        version = self.centre.channels[0].version
        if final or version != self.measured:
            self.flat.load(self._staging.on_device())
            self.metrics, self.error = self._evaluated()
            self.measured = version
        if final and self.config.extras and self.task.evaluate:
            self._save_extras(self.config.extras)
        self._tell(Evaluated(version, outcome.samples, self.metrics, final, error=self.error[:TEXT_MOST]))

    def _evaluated(self) -> tuple[dict[str, float], str]:
        """The metrics, or why there are none.

        NB: the next evaluation may go well; a process that ended would only be started again for it.
        """
        try:
            return self._evaluate(), ""
        except UserError as error:
            traceback.print_exception(error.__cause__ or error)
            return {}, str(error)

    def _save_extras(self, path: Path) -> None:
        """Without them the run's model file names what it lacks; the evaluation counts all the same."""
        try:
            state.save_extras(self.task.model, {name for name, _ in self.flat.layout}, path)
        except (OSError, SafetensorError) as error:
            say(f"{path} cannot be written: {error}")

    def _tell(self, result: Evaluated) -> None:
        """Tells shard 0; one that has just been started knows this evaluator by its next heartbeat."""
        deadline = time.monotonic() + TELL_SECONDS
        while isinstance(self._asker.ask(result, TELL_SECONDS), Fault) and time.monotonic() < deadline:
            time.sleep(POLL_SECONDS)

    def _evaluate(self) -> dict[str, float]:
        task = self.task
        if task.evaluate is None:
            return {}
        spec = self.config.job.spec
        with torch.no_grad():
            if not self._buffers.settle(spec.buffers, self._told()):
                recompute(task, spec, self._device)
        return measured(task)

    def _told(self) -> list[bytes]:
        """The buffers that shard 0 has of the workers."""
        if self.config.job.spec.buffers == "recompute" or not self._buffers.size:
            return []
        answer = self._asker.ask(Command("buffers"), TELL_SECONDS)
        return msgspec.msgpack.decode(answer.body, type=list[bytes]) if isinstance(answer, Done) else []

    def rest(self, seconds: float) -> None:
        """Until it is time to look again; an oracle answers meanwhile."""
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
    task = build_task(config.job.spec)
    if task.evaluate is None and not halves(config.job.spec).strategy.oracle:
        raise UserError(f"spec.entrypoint: {config.job.spec.entrypoint}: the Task has no `evaluate`")
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
    # NB: one that was told to leave before the end has to come back, elsewhere perhaps.
    return exitcodes.DONE if final else exitcodes.DRAINED


def watch(evaluator: Evaluator, leaving: object) -> bool:
    """Measures at the pace of `evaluation.everySeconds` until training is over, then the final weights.

    Returns whether it came to those.
    """
    assert callable(leaving)
    due = 0.0
    while not leaving():
        heard = evaluator.heartbeat.heard
        if heard.final:
            evaluator.measure(final=True)
            return True
        # NB: until shard 0 has answered a heartbeat, `heard` is empty.
        every = heard.every_seconds if heard.workers else evaluator.config.job.spec.evaluation.every_seconds
        if every and time.monotonic() >= due and not heard.stop:
            due = time.monotonic() + every
            try:
                evaluator.measure(final=False)
            except TryAgain:
                continue
        evaluator.rest(POLL_SECONDS)
    return False
