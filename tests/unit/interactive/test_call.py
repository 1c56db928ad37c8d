"""`asgd.run` before anything starts: what it takes, what it refuses, and that `import asgd` stays light."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

import asgd
from asgd.drivers.display import Display
from asgd.errors import RunFailed, UserError
from asgd.interactive import call, launched, ordering
from asgd.interactive.launched import Launched
from asgd.interactive.notebook import in_notebooks
from asgd.interactive.ordering import order_of
from asgd.interactive.protocol import Note, Order
from asgd.spec.environment import Env
from tests.unit.interactive import modules


@pytest.fixture(autouse=True)
def _no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv(Env.JOB_FOLDER, raising=False)
    monkeypatch.setattr(ordering, "private_folder", lambda: Path(str(tmp_path / "staging")))
    (tmp_path / "staging").mkdir()


def imported_after(code: str) -> set[str]:
    said = subprocess.run(
        [sys.executable, "-c", f"import sys\n{code}\nprint(*sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return {name.partition(".")[0] for name in said.stdout.split()}


def test_importing_asgd_loads_nothing_and_asgd_run_neither_torch_nor_pandas_nor_cloudpickle() -> None:
    heavy = {"torch", "pandas", "cloudpickle", "IPython", "rich", "matplotlib"}
    assert not imported_after("import asgd") & (heavy | {"numpy", "msgspec", "yaml", "zmq"})
    assert not imported_after("import asgd\nasgd.run, asgd.simulate, asgd.replay, asgd.Run") & heavy
    assert {"run", "simulate", "replay", "Run", "Task", "connect"} <= {*dir(asgd)}
    with pytest.raises(AttributeError, match="has no attribute 'runs'"):
        asgd.runs  # type: ignore[attr-defined]  # noqa: B018


def test_a_function_a_file_a_job_and_a_spec_become_the_same_job(tmp_path: Path) -> None:
    spec = {"entrypoint": "tests.unit.interactive.modules:task", "batchSize": 8}
    job = {
        "apiVersion": "asgd.dev/v1alpha1",
        "kind": "AsgdJob",
        "metadata": {"name": "modules"},
        "spec": spec,
    }
    file = tmp_path / "job.yaml"
    file.write_text(str(job).replace("'", '"'))
    for given in (modules.task, file, str(file), job, spec):
        fields = {"batch_size": 8} if given is modules.task else {}
        order = order_of("run", given, {**fields, "workers": 2}, {"seed": 3}, None)
        assert order.job["metadata"]["name"] == "modules"
        found = order.job["spec"]
        assert (found["entrypoint"], found["batchSize"], found["seed"]) == (spec["entrypoint"], 8, 3)
        assert found["workers"]["replicas"] == 2 and {"batchSize", "workers.replicas", "seed"} <= {
            *order.given
        }
        assert order.folder == str(tmp_path) or given not in (file, str(file))


def test_a_name_is_the_jobs(tmp_path: Path) -> None:
    assert order_of("run", modules.task, {}, None, "mine").job["metadata"]["name"] == "mine"
    with pytest.raises(UserError, match="metadata"):
        order_of("run", modules.task, {}, None, "Not A Name")


def test_a_problem_in_a_file_is_told_by_its_line_and_one_of_a_keyword_without(tmp_path: Path) -> None:
    file = tmp_path / "job.yaml"
    file.write_text(
        "apiVersion: asgd.dev/v1alpha1\nkind: AsgdJob\nmetadata: {name: a}\nspec:\n  entrypoint: a:b\n  seed: x\n"
    )
    with pytest.raises(UserError) as refused:
        order_of("run", file, {"batch_size": 0}, None, None)
    lines = str(refused.value).splitlines()
    assert lines[0].startswith(f"{file}:6: spec.seed: ") and lines[1].startswith("spec.batchSize: 0 ")
    assert not (tmp_path / "staging").exists(), "nothing is left"


@pytest.mark.parametrize("given", [3, None, modules.Maker, ["a"]])
def test_what_is_no_task_and_no_job_is_refused(given: Any) -> None:
    with pytest.raises(UserError, match="allowed are a function that returns an"):
        asgd.run(given)


def test_inside_of_a_run_nothing_is_started(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(Env.JOB_FOLDER, "/somewhere")
    for attempt in (lambda: asgd.run(modules.task), lambda: asgd.replay("runs/x")):
        with pytest.raises(UserError, match=r'put the call under `if __name__ == "__main__":`'):
            attempt()


def test_an_error_brings_one_frame_of_ours_and_in_a_notebook_none() -> None:
    with pytest.raises(UserError) as refused:
        asgd.run(modules.task, batch_sise=3)
    frames = [entry.path for entry in refused.traceback]
    assert [Path(frame).name for frame in frames] == ["test_call.py", "call.py"]
    assert refused.value.__cause__ is None and refused.value.__suppress_context__
    assert refused.value._render_traceback_() == [  # type: ignore[attr-defined]
        "JobError: spec.batch_sise: unknown field; did you mean batchSize?"
    ]

    def sweep() -> None:
        asgd.run(modules.task, batch_sise=3)

    with pytest.raises(UserError) as refused:
        sweep()
    shown = in_notebooks(refused.value)
    assert len(shown) == 2 and "in sweep" in shown[0], "the user's own functions on the way are told"


def test_simulated_clusters_take_the_command_lines_options(monkeypatch: pytest.MonkeyPatch) -> None:
    orders: list[Order] = []

    class Nothing:
        def __init__(self, order: Order) -> None:
            orders.append(order)

    monkeypatch.setattr(call, "Launched", Nothing)
    asgd.simulate(
        modules.task, workers=80, latency=0.1, straggler=["0:4"], death=None, wait=False, output=Path("x")
    )
    (order,) = orders
    assert order.options == ["--straggler=0:4", "--latency=0.1"] and order.output == "x"
    assert order.job["spec"]["workers"]["maxReplicas"] == 80
    with pytest.raises(UserError, match=r"spec\.latency: unknown field"):
        asgd.run(modules.task, latency=0.1)
    with pytest.raises(UserError, match="transport: 'udp' is not one of ipc, tcp"):
        asgd.run(modules.task, transport="udp")  # type: ignore[arg-type]


# -- the launcher's process ----------------------------------------------------------------------------


def test_a_launcher_that_breaks_is_told_by_its_last_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(launched, "_LAUNCHER", "no_such_module_of_ours")
    broken = Launched(Order("run", str(tmp_path / "staging")))
    assert broken.join(60) and broken.ended is not None
    assert broken.ended.code == 1
    assert (
        "the launcher ended with 1: " in broken.ended.sentence
        and "no_such_module_of_ours" in broken.ended.sentence
    )
    assert not (tmp_path / "staging").exists()


def test_a_replay_of_no_run_fails_by_the_command_lines_sentence(tmp_path: Path) -> None:
    with pytest.raises(RunFailed, match=r"run\.json cannot be read: No such file or directory") as failed:
        asgd.replay(tmp_path)
    assert failed.value.exit_code == 2


def test_news_wait_for_who_shows_them_and_a_wait_has_its_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    slow = tmp_path / "asgd_slow_launcher.py"
    slow.write_text(
        'import sys\nprint("no message")\nprint(\'{"kind":"note","text":"hello"}\', flush=True)\nsys.stdin.read()\n'
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(launched, "_LAUNCHER", "asgd_slow_launcher")
    started = Launched(Order("run", str(tmp_path / "staging"), warning="it is large"))
    while len(started._news) < 2:
        time.sleep(0.01)
    shown: list[str] = []
    monkeypatch.setattr(Display, "note", lambda self, text, matters=True: shown.append(text))
    assert not started.follow(Display(quiet=True), 0.1)
    assert shown == ["warning: it is large", "hello"]
    started.interrupt()
    assert started.join(60) and started.ended is not None and started.ended.code == 130


def test_messages_are_what_they_were() -> None:
    import msgspec

    from asgd.interactive.protocol import decoder

    told = Note("a", matters=False)
    assert decoder.decode(msgspec.json.encode(told)) == told
