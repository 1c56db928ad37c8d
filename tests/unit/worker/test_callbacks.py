"""Task.callbacks: what is refused, what a call leaves alone, and who is told what."""

from __future__ import annotations

import random
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.data import TensorDataset

import asgd
from asgd.callbacks import METHODS, Checkpoint, End, Evaluation, Start, Step
from asgd.errors import TryAgain, UserError
from asgd.wire.messages import Beaten, Command, Done, Evaluated
from asgd.wire.reports import SaveReport
from asgd.worker.device.flat import Flat
from asgd.worker.failing import tell
from asgd.worker.task.calling import CallbackFailed, Calling, check_callbacks, silent
from asgd.worker.told import Told
from asgd.worker.told_evaluator import EvaluatorTold


class Notes(asgd.Callback):
    """Keeps all that it is told."""

    def __init__(self) -> None:
        self.seen: list[Any] = []

    def on_start(self, start: Start) -> None:
        self.seen.append(start)

    def on_step(self, step: Step) -> None:
        self.seen.append(step)

    def on_evaluate(self, evaluation: Evaluation) -> None:
        self.seen.append(evaluation)

    def on_checkpoint(self, checkpoint: Checkpoint) -> None:
        self.seen.append(checkpoint)

    def on_end(self, end: End) -> None:
        self.seen.append(end)


class Only:
    """A plain object whose one method is `does`."""

    def __init__(self, does: Callable[[Any], Any]) -> None:
        self._does = does

    def on_step(self, step: Any) -> None:
        self._does(step)


class Typo(asgd.Callback):
    def on_epoch(self, moment: Any) -> None: ...


class TakesTwo(asgd.Callback):
    def on_step(self, trainer: Any, module: Any) -> None: ...  # type: ignore[override]


def a_task(*callbacks: Any, evaluate: bool = True) -> asgd.Task:
    model = nn.Sequential(nn.Linear(3, 2), nn.Dropout())
    data = TensorDataset(torch.zeros(8, 3))
    measure = (lambda model: {"accuracy": 0.5}) if evaluate else None
    return asgd.Task(
        model=model, loss=lambda m, b: m(b[0]).mean(), data=data, evaluate=measure, callbacks=callbacks
    )


def calling(*callbacks: Any) -> tuple[Calling, asgd.Task]:
    task = a_task(*callbacks)
    return Calling(task, Flat(task.model, torch.device("cpu"))), task


def step(model: nn.Module) -> Step:
    return Step(
        job="j", model=model, worker=0, workers=2, updates=4, samples=64, epochs=2.0, step=3, loss=0.5,
        learning_rate=0.1,
    )  # fmt: skip


REFUSED = {
    "a function": (
        lambda step: None,
        "is of type function and has none of the methods; allowed: a list of objects with",
    ),
    "a class": (Notes, "[0] is the class Notes; allowed: an object of it, Notes()"),
    "a misspelt method": (Typo(), "[0]: Typo has on_epoch, which nobody calls; allowed: on_start, on_step"),
    "a method of two arguments": (TakesTwo(), "TakesTwo.on_step has to take one argument, what it is told"),
    "an object of something else": (3, "[0] is of type int and has none of the methods"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_can_not_be_called_or_never_would_be_is_refused_in_one_sentence(case: str) -> None:
    callback, said = REFUSED[case]
    with pytest.raises(UserError, match=r"^spec.entrypoint: mine:task: Task.callbacks") as refusal:
        check_callbacks([callback], "mine:task")
    assert said in str(refusal.value) and "\n" not in str(refusal.value)


def test_callbacks_that_are_no_list_are_refused_and_plain_objects_with_some_methods_are_not() -> None:
    with pytest.raises(UserError, match=r"Task.callbacks is Notes; allowed: a list"):
        check_callbacks(Notes(), "mine:task")
    check_callbacks([Notes(), Only(print), SimpleNamespace(on_end=print)], "mine:task")
    check_callbacks((), "mine:task")


def test_a_callback_that_raises_is_named_by_class_and_method_with_the_user_s_own_line() -> None:
    def fails(step: Step) -> None:
        raise KeyError("label")

    told, task = calling(Only(fails))
    with pytest.raises(
        CallbackFailed, match=r"^Task.callbacks: Only.on_step raised KeyError: 'label'$"
    ) as failed:
        told.call("on_step", lambda: step(task.model))
    shard = SimpleNamespace(ask=lambda message, patience: Done(b"everybody"))
    with pytest.raises(
        UserError, match=r"every worker .*Only.on_step raised KeyError: 'label' \(test_callbacks.py"
    ):
        core = SimpleNamespace(steps=0, sequence=0)
        tell(failed.value, "mine:task", 0, 1, cast(Any, core), cast(Any, shard))


def scale(step: Step) -> None:
    for parameter in step.model.parameters():
        parameter.mul_(2)


def behind(step: Step) -> None:
    next(step.model.parameters()).data[0, 0] = 7.0


def another(step: Step) -> None:
    next(step.model.parameters()).data = torch.zeros(2, 3)


@pytest.mark.parametrize("writes", [scale, behind, another])
def test_a_callback_that_writes_into_the_model_is_refused_by_parameter_and_name(writes: Any) -> None:
    told, task = calling(Only(writes))
    said = r"Only.on_step has written into parameter 0.weight, .*deepcopy"
    with pytest.raises(UserError, match=said):
        told.call("on_step", lambda: step(task.model))


def test_random_numbers_and_training_mode_are_after_a_callback_what_they_were() -> None:
    def disturbs(step: Step) -> None:
        step.model.eval()
        step.model(torch.zeros(1, 3))
        random.random(), np.random.rand(), torch.rand(3)
        random.seed(0), np.random.seed(0), torch.manual_seed(0)

    told, task = calling(Only(disturbs))

    def drawn() -> tuple[float, float, float]:
        return random.random(), float(np.random.rand()), float(torch.rand(1))

    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    alone = drawn()
    random.seed(5), np.random.seed(5), torch.manual_seed(5)
    told.call("on_step", lambda: step(task.model))
    assert drawn() == alone
    assert all(module.training for module in task.model.modules())


def test_without_a_callback_for_it_nothing_is_made_or_looked_at() -> None:
    told, _ = calling(SimpleNamespace(on_end=print), asgd.Callback())
    told.call("on_step", lambda: pytest.fail("nobody wants it"))
    assert [method for method in METHODS if told.wanted(method)] == ["on_end"]


def test_what_is_never_called_without_an_evaluator_is_said() -> None:
    assert silent(a_task(Notes())) == []
    assert silent(a_task(Only(print), evaluate=False)) == []
    said = silent(a_task(Notes(), evaluate=False))
    assert [line.split(" is never called")[0] for line in said] == [
        "Task.callbacks: Notes.on_evaluate",
        "Task.callbacks: Notes.on_checkpoint",
    ]


def a_worker(told: Calling) -> tuple[Told, Any]:
    core = SimpleNamespace(steps=0, samples=16, rule=SimpleNamespace(workers=3), rate=0.1)
    meters = SimpleNamespace(versions=(2, 2), loss=None)
    replica = SimpleNamespace(core=core, meters=meters, between=lambda: None)
    config = SimpleNamespace(job=SimpleNamespace(name="j"), index=1)
    return Told(cast(Any, config), told, cast(Any, replica), 8), replica


def test_a_worker_tells_its_start_each_step_once_and_its_end() -> None:
    notes = Notes()
    told, _ = a_worker(calling(notes)[0])
    worker, replica = a_worker(calling(notes)[0])
    told.end("epochs")  # one that came when the job was over
    assert notes.seen == []
    worker.start()
    replica.between()  # before the first batch
    replica.core.steps, replica.meters.loss, replica.core.samples = 1, 0.25, 24
    replica.between()
    replica.between()  # the batch was dropped
    worker.end("epochs")
    start, stepped, end = notes.seen
    assert (start.worker, start.workers, start.updates, start.samples, start.epochs) == (1, 3, 2, 16, 2.0)
    assert (stepped.step, stepped.loss, stepped.learning_rate, stepped.epochs) == (1, 0.25, 0.1, 3.0)
    assert end.reason == "epochs"


def test_a_worker_s_callback_that_raises_at_the_end_is_a_warning_and_no_crash() -> None:
    worker, _ = a_worker(calling(SimpleNamespace(on_end=lambda end: 1 / 0))[0])
    worker.start()
    with pytest.warns(UserWarning, match="on_end raised ZeroDivisionError"):
        worker.end("epochs")


class Shard:
    """Has some saves in its store, and perhaps does not answer."""

    def __init__(self) -> None:
        self.saves: list[SaveReport] = []
        self.asked, self.deaf = 0, False

    def ask(self, message: Command, patience_seconds: float) -> Done:
        assert message.verb == "saves"
        self.asked += 1
        if self.deaf:
            raise TryAgain("shard 0 has not answered")
        return Done(msgspec.msgpack.encode(self.saves))

    def save(self, number: int, updates: int) -> None:
        self.saves.append(SaveReport(number, updates, f"store/{number:06d}", 99))


def an_evaluator(told: Calling, shard: Shard, clock: list[float]) -> EvaluatorTold:
    def heard() -> Beaten:
        return Beaten(
            workers=2, stop="updates", dataset=8, saved=max((s.number for s in shard.saves), default=0)
        )

    return EvaluatorTold("j", told, cast(Any, shard), heard, lambda: clock[0])


def test_the_evaluator_tells_evaluations_each_new_checkpoint_and_the_end() -> None:
    notes, shard, clock = Notes(), Shard(), [0.0]
    evaluator = an_evaluator(calling(notes)[0], shard, clock)
    assert evaluator.evaluated(Evaluated(4, 16, {"accuracy": 0.5}, False)) == ""
    shard.save(1, 3)
    shard.save(2, 5)
    for clock[0] in (2.0, 4.0):
        assert evaluator.look() == ""
    assert shard.asked == 1, "only when there is a new one"
    shard.save(3, 6)
    clock[0] = 4.5
    assert evaluator.look() == ""
    shard.save(4, 7)
    for clock[0] in (4.6, 5.0):
        assert evaluator.look() == ""
    assert shard.asked == 2, "once a second"
    shard.save(5, 8)
    assert evaluator.evaluated(Evaluated(8, 32, {"accuracy": 0.75}, True)) == ""
    first, *saved, last, end = notes.seen
    assert (first.worker, first.updates, first.epochs, first.metrics, first.final) == (
        None, 4, 2.0, {"accuracy": 0.5}, False,
    )  # fmt: skip
    assert [one.saved_updates for one in saved] == [3, 5, 6, 7, 8]
    assert (saved[-1].uri, saved[-1].bytes, saved[-1].epochs) == ("store/000005", 99, 4.0)
    assert (last.metrics, last.final, end.reason) == ({"accuracy": 0.75}, True, "updates")


def test_an_evaluator_that_is_not_told_the_last_save_comes_back_instead_of_ending_without() -> None:
    notes, shard = Notes(), Shard()
    evaluator = an_evaluator(calling(notes)[0], shard, [0.0])
    shard.save(1, 8)
    shard.deaf = True
    assert evaluator.look() == "", "later, perhaps"
    with pytest.raises(TryAgain):
        evaluator.evaluated(Evaluated(8, 32, {"accuracy": 0.75}, True))
    assert notes.seen == []


def test_an_evaluation_that_failed_is_told_to_no_callback_and_one_that_raises_is_told_as_a_failed_evaluation() -> (
    None
):
    notes = Notes()
    quiet = an_evaluator(calling(notes)[0], Shard(), [0.0])
    assert quiet.evaluated(Evaluated(4, 16, {}, False, error="evaluate raised")) == ""
    assert notes.seen == []
    loud = an_evaluator(calling(SimpleNamespace(on_evaluate=lambda e: e.nothing))[0], Shard(), [0.0])
    said = loud.evaluated(Evaluated(4, 16, {"accuracy": 0.5}, False))
    assert said.startswith("Task.callbacks: SimpleNamespace.on_evaluate raised AttributeError: ")
    assert "(test_callbacks.py:" in said
