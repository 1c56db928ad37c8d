"""What a worker's own optimizer remembers outlives its process: a restart, and the end of a run that is resumed."""

from __future__ import annotations

import json
import runpy
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

from asgd.cli import main
from asgd.worker.device.flat import Flat
from asgd.worker.keeping import Keeping
from asgd.worker.optimizing.stepping import TaskOptimizer
from tests.users.jobs import run_spec, write, write_job
from tests.users.test_own_optimizer import OPTIMIZERS, rule_of
from tests.users.toys import net

pytestmark = pytest.mark.timeout(300)
OWN = """
    import json, os, pathlib, torch, torch.nn.functional as F, asgd
    from torch import nn

    def net():
        torch.manual_seed(0)
        return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3)).to(torch.bfloat16)

    def points():
        x = torch.randn(48, 6, generator=torch.Generator().manual_seed(3))
        return torch.utils.data.TensorDataset(torch.arange(48), x.bfloat16(), x[:, :3].argmax(1))

    def adamw(params):
        return torch.optim.AdamW(params, lr=0.02, betas=(0.95, 0.999))

    def accuracy(model):
        _, x, y = points().tensors
        return {"accuracy": (model(x).argmax(1) == y).float().mean(), "test_loss": F.cross_entropy(model(x).float(), y)}

    def task(dies=False):
        def loss(model, batch):
            seen, x, y = batch
            if model.training and torch.is_grad_enabled() and os.environ.get("ASGD_SERVERS"):
                with open("seen.txt", "a") as file:
                    file.write(json.dumps(seen.tolist()) + "\\n")
                steps = len(open("seen.txt").readlines())
                if dies and steps >= 60 and pathlib.Path("out/checkpoints/optimizers/worker-0.pt").exists():
                    if not os.path.exists("died"):
                        open("died", "w").close()
                        os._exit(9)
            return F.cross_entropy(model(x).float(), y)
        return asgd.Task(model=net(), loss=loss, data=points(), evaluate=accuracy, optimizer=adamw)
"""
SPEC: dict[str, Any] = {"entrypoint": "mine.py:task", "algorithm": {"name": "asgd", "mode": "delta"}}


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.slow
def test_a_resumed_job_goes_on_as_if_it_had_not_ended_and_its_bf16_model_loads(in_folder: Path) -> None:
    write(in_folder, mine=OWN)
    first = run_spec(in_folder, SPEC | {"stopAfter": {"updates": 30}})
    assert "weights fp32 on servers, bf16 in workers; pushes fp32, pulls fp32" in first.said
    assert first.summary["precision"] == "weights fp32 on servers, bf16 in workers; pushes fp32, pulls fp32"
    assert "worker 0: steps by AdamW, lr 0.02\n" in first.log("worker-0")
    again = SPEC | {"stopAfter": {"updates": 60}, "checkpoint": {"restore": "Latest"}}
    second = run_spec(in_folder, again)
    assert "AdamW, lr 0.02; AdamW goes on with the state of before" in second.log("worker-0")

    mine = runpy.run_path("mine.py")
    batches = [json.loads(line) for line in (in_folder / "seen.txt").read_text().splitlines()]
    assert len(batches) == 60
    model, points = mine["net"](), mine["points"]().tensors
    masters = [nn.Parameter(p.detach().float()) for p in model.parameters()]
    optimizer = mine["adamw"](masters)
    for rows in batches:
        model.zero_grad()
        nn.functional.cross_entropy(model(points[1][rows]).float(), points[2][rows]).backward()
        for own, master in zip(model.parameters(), masters, strict=True):
            assert own.grad is not None
            master.grad = own.grad.float()
        optimizer.step()
        for own, master in zip(model.parameters(), masters, strict=True):
            own.data.copy_(master)

    saved = load_file(second.output / "model.safetensors")
    assert {tensor.dtype for tensor in saved.values()} == {torch.float32}
    for name, master in zip(dict(model.named_parameters()), masters, strict=True):
        torch.testing.assert_close(saved[name], master.detach(), rtol=1e-3, atol=1e-3)
    loaded = mine["net"]()
    loaded.load_state_dict(saved, strict=True)
    assert next(loaded.parameters()).dtype == torch.bfloat16
    with torch.no_grad():
        told = mine["accuracy"](loaded.eval())
    assert float(told["test_loss"]) == pytest.approx(second.summary["metrics"]["test_loss"], rel=1e-6)


@pytest.mark.slow
def test_a_restarted_worker_goes_on_with_the_state_of_before_and_a_replay_does_so_too(
    in_folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(in_folder, mine=OWN)
    spec = SPEC | {
        "args": {"dies": True},
        "stopAfter": {"updates": 120},
        "checkpoint": {"everySeconds": 0.05},
    }
    ran = run_spec(in_folder, spec)
    assert sum(ran.summary["restarts"].values()) == 1
    assert "AdamW goes on with the state of before" in ran.log("worker-0")
    assert ran.summary["replayable"], ran.summary["notReplayable"]
    assert main(["replay", "out"]) == 0
    assert "equal" in capsys.readouterr().out


@pytest.mark.slow
def test_settings_that_stand_beside_the_task_s_own_optimizer_are_refused_before_the_start(
    in_folder: Path,
) -> None:
    write(in_folder, mine=OWN)
    ran = run_spec(in_folder, SPEC | {"optimizer": {"learningRate": 0.1}})
    assert ran.code == 2
    assert (
        "spec.optimizer.learningRate stands beside Task.optimizer, whose own settings count"
        in ran.said.splitlines()[-1]
    )
    assert write_job(in_folder, SPEC).exists()


# -- the file ------------------------------------------------------------------------------------------


def stepped(rule: TaskOptimizer, flat: Flat, begin: int, end: int) -> None:
    for step in range(begin, end):
        flat.grads[:] = torch.linspace(-1, 1, flat.size) * (step + 1)
        rule.step(flat.weights, flat.grads, 1 / (step + 1), flat.grads)


def keeping(folder: Path, rule: TaskOptimizer, flat: Flat) -> Keeping:
    return Keeping(folder, 2, rule, flat, 60.0)


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_who_takes_a_place_steps_on_as_its_predecessor_would(name: str, tmp_path: Path) -> None:
    first, flat = rule_of(OPTIMIZERS[name], net())
    stepped(first, flat, 0, 5)
    keeping(tmp_path, first, flat).save()
    then = flat.weights.clone()
    second, other = rule_of(OPTIMIZERS[name], net())
    second.forget()
    assert "goes on with the state of before" in keeping(tmp_path, second, other).restore()
    second.forget()  # it joins twice before its first batch
    other.weights[:] = then
    stepped(first, flat, 5, 9)
    stepped(second, other, 5, 9)
    assert torch.equal(flat.weights, other.weights)
    # From its first step on, to begin anew is what it always is.
    for rule, vector in ((first, flat), (second, other)):
        rule.forget()
        vector.weights[:] = then
        stepped(rule, vector, 0, 3)
    assert torch.equal(flat.weights, other.weights)


def test_a_rate_that_was_edited_counts(tmp_path: Path) -> None:
    first, flat = rule_of(lambda params: torch.optim.SGD(params, lr=0.5, momentum=0.5), net())
    stepped(first, flat, 0, 2)
    keeping(tmp_path, first, flat).save()
    second, other = rule_of(lambda params: torch.optim.SGD(params, lr=0.25, momentum=0.5), net())
    keeping(tmp_path, second, other).restore()
    second.forget()
    assert second.state()["param_groups"][0]["lr"] == 0.25
    assert second.learning_rate(0.5) == 0.125


def test_what_does_not_fit_or_is_damaged_is_said_and_the_optimizer_begins_anew(tmp_path: Path) -> None:
    rule, flat = rule_of(OPTIMIZERS["NAdam"], net())
    assert keeping(tmp_path, rule, flat).restore() == ""
    stepped(rule, flat, 0, 2)
    keeping(tmp_path, rule, flat).save()
    other, _ = rule_of(OPTIMIZERS["RMSprop"], net())
    said = keeping(tmp_path, other, flat).restore()
    assert said == "RMSprop begins anew: worker-2.pt is of another optimizer: NAdam"
    wide, big = rule_of(OPTIMIZERS["NAdam"], nn.Linear(9, 9))
    assert "is of another layout" in keeping(tmp_path, wide, big).restore()
    path = tmp_path / "worker-2.pt"
    path.write_bytes(path.read_bytes()[:200])
    said = keeping(tmp_path, rule, flat).restore()
    assert said.startswith("NAdam begins anew: worker-2.pt cannot be read: ")


def test_a_folder_that_cannot_be_written_ends_nobody(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    rule, flat = rule_of(OPTIMIZERS["NAdam"], net())
    kept = keeping(tmp_path / "file", rule, flat)
    kept.save()
    kept.save()
    assert capsys.readouterr().out.count("a restart begins NAdam anew") == 1
