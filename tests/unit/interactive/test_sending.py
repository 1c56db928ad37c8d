"""What a new process can import goes by name, everything else by value, into the run's own folder."""

from __future__ import annotations

import importlib.util
import sys
import types
from pathlib import Path
from typing import Any

import cloudpickle
import pytest
import torch
from torch import nn

import asgd
from asgd.drivers import sent as keeping
from asgd.errors import UserError
from asgd.interactive import sending
from asgd.interactive.sending import by_name, entrypoint_of
from asgd.spec import job_of
from asgd.spec.environment import Env
from asgd.worker.task import entrypoint as entrypoints
from asgd.worker.task.sent import FILE, PICKLE
from tests.unit.interactive import modules

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(autouse=True)
def _own_path(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])


def typed(text: str, **names: Any) -> dict[str, Any]:
    """What `text` defines, as if it had been typed into an interpreter."""
    place = {"__name__": "__main__", **names}
    exec(compile(text, "<stdin>", "exec"), place)
    return place


def loaded(staging: Path, text: str, monkeypatch: pytest.MonkeyPatch) -> Any:
    """The callable that a worker finds."""
    monkeypatch.setenv(Env.JOB_FOLDER, str(staging))
    job = job_of({
        "apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "x"}, "spec": {"entrypoint": text}
    })  # fmt: skip
    return entrypoints.load_entrypoint(job.spec)


def test_a_function_of_a_module_goes_by_name_from_where_the_module_lies(tmp_path: Path) -> None:
    found = entrypoint_of(modules.task, tmp_path, tmp_path)
    assert (found.text, found.folder) == ("tests.unit.interactive.modules:task", ROOT)
    assert [*tmp_path.iterdir()] == []
    inner = by_name(modules.Maker.task, tmp_path)
    assert inner is not None and inner.text == "tests.unit.interactive.modules:Maker.task"


def test_a_function_of_an_installed_package_is_looked_for_nowhere_else(tmp_path: Path) -> None:
    assert by_name(cloudpickle.dumps, tmp_path) == sending.Entrypoint(
        "cloudpickle.cloudpickle:dumps", tmp_path
    )


def test_what_stands_in_main_goes_by_value_with_all_that_it_uses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    names = typed(
        "word = 'typed'\ndef helper():\n    return word\ndef mine(times=1):\n    return helper() * times"
    )
    found = entrypoint_of(names["mine"], tmp_path, tmp_path)
    assert (found.text, found.folder) == (f"{FILE}:mine", tmp_path)
    assert loaded(tmp_path, found.text, monkeypatch)(times=2) == "typedtyped"


@pytest.mark.parametrize("task", [modules.make("closed "), modules.Maker().own, lambda: "a lambda"])
def test_closures_methods_and_lambdas_go_by_value(
    task: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = entrypoint_of(task, tmp_path, tmp_path)
    assert found.text.startswith(f"{FILE}:")
    assert loaded(tmp_path, found.text, monkeypatch)() == task()


def test_a_module_that_the_current_directory_hides_goes_by_value(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for folder, word in (("there", "right"), ("here", "wrong")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "hidden_task.py").write_text(
            f"def word():\n    return '{word}'\ndef task():\n    return word()\n"
        )
    place = importlib.util.spec_from_file_location("hidden_task", tmp_path / "there" / "hidden_task.py")
    assert place is not None and place.loader is not None
    module = importlib.util.module_from_spec(place)
    monkeypatch.setitem(sys.modules, "hidden_task", module)
    place.loader.exec_module(module)
    named = by_name(module.task, tmp_path)
    assert named is not None and named.folder == tmp_path / "there"
    found = entrypoint_of(module.task, tmp_path, tmp_path / "here")
    monkeypatch.delitem(sys.modules, "hidden_task")
    monkeypatch.chdir(tmp_path / "here")
    assert loaded(tmp_path, found.text, monkeypatch)() == "right"


def test_a_module_without_a_file_goes_by_value(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("made_up")
    exec("def word():\n    return 'made up'\ndef task():\n    return word()", vars(module))
    monkeypatch.setitem(sys.modules, "made_up", module)
    found = entrypoint_of(module.task, tmp_path, tmp_path)
    monkeypatch.delitem(sys.modules, "made_up")
    assert loaded(tmp_path, found.text, monkeypatch)() == "made up"


def test_a_task_that_was_sent_is_made_anew_at_each_call_with_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(3)
    task = asgd.Task(
        model=nn.Linear(2, 1), loss=lambda model, batch: model(batch).sum(), data=[torch.ones(2)]
    )
    found = entrypoint_of(task, tmp_path, tmp_path)
    make = loaded(tmp_path, found.text, monkeypatch)
    one, other = make(), make()
    assert one.model is not other.model
    assert all(
        torch.equal(a, b) for a, b in zip(one.model.parameters(), task.model.parameters(), strict=True)
    )


def test_what_cannot_be_pickled_is_told_with_its_name_and_the_way_out(tmp_path: Path) -> None:
    import threading

    names = typed("def mine():\n    return lock", lock=threading.Lock())
    with pytest.raises(UserError) as refused:
        entrypoint_of(names["mine"], tmp_path, tmp_path)
    assert str(refused.value) == (
        "asgd.run: mine cannot be sent to the workers: TypeError: cannot pickle '_thread.lock' object; make what it"
        " uses inside the function, or put it into a module of its own"
    )


def test_without_cloudpickle_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cloudpickle", None)
    with pytest.raises(UserError, match=r"needs cloudpickle: pip install 'asgd-operator\[notebook\]'"):
        entrypoint_of(lambda: None, tmp_path, tmp_path)
    assert by_name(modules.task, tmp_path), "by name it goes without"


def test_large_data_that_go_along_are_warned_about(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sending, "LARGE", 1000)
    names = typed("def mine():\n    return data", data=b"x" * 2000)
    assert "each process makes a copy" in entrypoint_of(names["mine"], tmp_path, tmp_path).warning


def test_a_changed_pickle_and_one_of_another_python_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = entrypoint_of(typed("def mine():\n    return 1")["mine"], tmp_path, tmp_path)
    (tmp_path / PICKLE).write_bytes(b"other")
    with pytest.raises(UserError, match="is not what was sent: its sha256"):
        loaded(tmp_path, found.text, monkeypatch)
    text = (tmp_path / FILE).read_text().replace('python="3.', 'python="2.')
    other = tmp_path / "other"
    other.mkdir()
    (other / FILE).write_text(text)
    with pytest.raises(UserError, match="the same minor version alone"):
        loaded(other, found.text, monkeypatch)


def test_a_module_that_is_gone_when_it_is_read_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "soon_gone.py").write_text("def helper():\n    return 1\n")
    sys.path.insert(0, str(tmp_path))
    import soon_gone  # type: ignore[import-not-found]

    found = entrypoint_of(
        typed("def mine():\n    return helper()", helper=soon_gone.helper)["mine"], tmp_path, tmp_path
    )
    del sys.modules["soon_gone"]
    (tmp_path / "soon_gone.py").unlink()
    with pytest.raises(
        UserError, match="cannot be made here: ModuleNotFoundError: No module named 'soon_gone'"
    ):
        loaded(tmp_path, found.text, monkeypatch)


def test_a_run_keeps_what_was_sent_and_leaves_other_code_where_it_is(tmp_path: Path) -> None:
    staging, output = tmp_path / "staging", tmp_path / "out"
    staging.mkdir()
    output.mkdir()
    found = entrypoint_of(lambda: 1, staging, tmp_path)
    assert keeping.keep(found.text, staging, output) == output
    assert sorted(path.name for path in output.iterdir()) == [PICKLE, FILE]
    assert keeping.keep(found.text, output, output) == output, "its own job.yaml may be run again"
    assert keeping.keep("train.py:task", staging, output) == staging
