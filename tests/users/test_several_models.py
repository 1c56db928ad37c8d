"""`asgd.connect({"generator": g, "critic": c}, ...)`: a GAN's script has the losses and weights of plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import SGD, Adam, AdamW, NAdam, Optimizer
from torch.optim.lr_scheduler import StepLR
from torch.utils.data import DataLoader, TensorDataset

from asgd.drivers.counting import parameter_lines
from asgd.errors import UserError
from asgd.spec import load_job
from asgd.worker.reading.data import seed_worker
from tests.users.alone import only_worker
from tests.users.jobs import run_spec, write, write_job

Make = Callable[[nn.Module, nn.Module], tuple[Optimizer, Optimizer]]
CLOSE = 1e-6
EPOCHS, BATCHES = 2, 5


def gan() -> tuple[nn.Module, nn.Module]:
    """NB: batch norm takes away what a bias before it adds; of a gradient that is rounding Adam makes whole steps."""
    torch.manual_seed(0)
    generator = nn.Sequential(nn.Linear(3, 8, bias=False), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 2))
    return generator, nn.Sequential(nn.Linear(2, 8), nn.Tanh(), nn.BatchNorm1d(8), nn.Linear(8, 1))


def adams(g: nn.Module, c: nn.Module) -> tuple[Optimizer, Optimizer]:
    """As DCGAN has them; the critic's norms without decay, at another rate."""
    bare = [p for p in c.parameters() if p.ndim == 1]
    rest = [p for p in c.parameters() if p.ndim > 1]
    groups = [{"params": rest}, {"params": bare, "weight_decay": 0.0, "lr": 0.004}]
    return Adam(g.parameters(), lr=0.01, betas=(0.5, 0.999)), AdamW(groups, lr=0.02, weight_decay=0.1)


def momenta(g: nn.Module, c: nn.Module) -> tuple[Optimizer, Optimizer]:
    return SGD(g.parameters(), lr=0.05, momentum=0.9), SGD(c.parameters(), lr=0.05, weight_decay=0.01)


def in_workers(g: nn.Module, c: nn.Module) -> tuple[Optimizer, Optimizer]:
    """The servers have a rule for one of them."""
    return NAdam(g.parameters(), lr=0.01), Adam(c.parameters(), lr=0.01)


def trained(asgd: Any, make: Make, n_critic: int = 2) -> tuple[list[float], list[Tensor], Any]:
    """The losses and weights of a script. `asgd` None: plain PyTorch."""
    g, c = gan()
    og, oc = steps = make(g, c)
    slower = [StepLR(optimizer, 4, 0.5) for optimizer in steps]
    models = None
    if asgd:
        models = asgd.connect({"generator": g, "critic": c}, {"generator": og, "critic": oc})
        og, oc = models["generator"], models["critic"]
    else:
        seed_worker(0, 0)
    draws = torch.Generator().manual_seed(1)
    data, losses = TensorDataset(torch.randn(8 * BATCHES, 2, generator=draws) + 2), []

    def step(optimizer: Any, loss: Tensor, scheduler: Any) -> None:
        loss.backward()
        optimizer.step(**({"loss": loss} if asgd else {}))
        scheduler.step()
        losses.append(loss.item())

    for _ in range(EPOCHS):
        loader = DataLoader(data, batch_size=8)
        for number, (real,) in enumerate(models.until_stopped(loader) if models else loader):
            fake, ones = g(torch.randn(8, 3, generator=draws)), torch.ones(8, 1)
            oc.zero_grad()
            told = F.binary_cross_entropy_with_logits(c(real), ones)
            step(oc, told + F.binary_cross_entropy_with_logits(c(fake.detach()), 0 * ones), slower[1])
            if number % n_critic == 0:
                og.zero_grad()
                step(og, F.binary_cross_entropy_with_logits(c(fake), ones), slower[0])
    return losses, [t.detach().clone() for model in (g, c) for t in model.state_dict().values()], models


JOBS: dict[str, tuple[Make, dict[str, Any]]] = {
    "adam on the servers": (adams, {}),
    "momentum": (momenta, {}),
    "one of them in workers": (in_workers, {}),
    "delta mode": (adams, {"algorithm": {"name": "asgd", "mode": "delta"}}),
    "ssp": (adams, {"algorithm": {"name": "ssp"}}),
}


@pytest.mark.parametrize("make, spec", JOBS.values(), ids=JOBS)
def test_alternating_steps_of_two_models_are_those_of_plain_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, make: Make, spec: dict[str, Any]
) -> None:
    losses, weights, _ = trained(None, make)
    with only_worker(tmp_path, monkeypatch, optimizer={}, **spec) as asgd:
        ours, moved, models = trained(asgd, make)
        assert ours == pytest.approx(losses, abs=CLOSE)
        for mine, plain in zip(moved, weights, strict=True):
            assert torch.allclose(mine, plain, atol=10 * CLOSE)
        # NB: a batch counts once, whichever models have stepped on it.
        assert models.job_samples == EPOCHS * BATCHES * 8


def test_what_a_script_does_after_its_passes_is_done_though_a_models_step_ends_the_job_amid_a_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_worker(tmp_path, monkeypatch, optimizer={}, stopAfter={"epochs": EPOCHS}) as asgd:
        # NB: the critic's step on the last batch completes the epochs, and the generator's comes after it.
        losses, _, models = trained(asgd, adams, n_critic=1)
        assert models.stopped and len(losses) == 2 * EPOCHS * BATCHES
        assert models.job_samples == EPOCHS * BATCHES * 8
        with pytest.raises(SystemExit):
            models["generator"].step()


def test_a_closure_is_still_asked_for_its_loss_after_another_models_step_has_ended_the_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_worker(tmp_path, monkeypatch, optimizer={}, stopAfter={"epochs": 1}) as asgd:
        g, c = gan()
        og, oc = adams(g, c)
        models = asgd.connect({"generator": g, "critic": c}, {"generator": og, "critic": oc})
        told = []
        for (real,) in models.until_stopped(DataLoader(TensorDataset(torch.ones(8, 2)), batch_size=8)):
            loss = c(real).mean()
            loss.backward()
            models["critic"].step(loss=loss)
            assert models.stopped
            told.append(models["generator"].step(lambda: g(torch.ones(8, 3)).mean()))
        assert len(told) == 1 and told[0].requires_grad


def test_the_job_files_optimizer_and_groups_hold_for_each_model(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def plain(g: nn.Module, c: nn.Module) -> tuple[Optimizer, Optimizer]:
        return SGD(g.parameters(), lr=0.25), SGD(c.parameters(), lr=0.125)

    groups = [{"match": "critic.*", "learningRate": "0.5x"}]
    g, c = gan()
    x = torch.ones(4, 3)
    with only_worker(tmp_path, monkeypatch, optimizer={"learningRate": 0.25, "groups": groups}) as asgd:
        models = asgd.connect({"generator": g, "critic": c})
        for _ in range(3):
            for name in models:
                models.zero_grad()
                c(g(x)).pow(2).mean().backward()
                models[name].step(samples=4)
        assert models.job_samples == 24
    theirs = gan()
    steps = plain(*theirs)
    for _ in range(3):
        for own in steps:
            for each in steps:
                each.zero_grad()
            theirs[1](theirs[0](x)).pow(2).mean().backward()
            own.step()
    ours, plain_ones = ([p for model in pair for p in model.parameters()] for pair in ((g, c), theirs))
    for mine, other in zip(ours, plain_ones, strict=True):
        assert torch.allclose(mine, other, atol=CLOSE)


def test_a_step_of_one_model_does_not_look_at_what_its_loss_left_in_the_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    g, c = gan()
    with only_worker(tmp_path, monkeypatch, optimizer={"learningRate": 0.25}) as asgd:
        models = asgd.connect({"generator": g, "critic": c})
        models.zero_grad()
        c(g(torch.ones(4, 3))).sum().backward()
        before = [p.detach().clone() for p in c.parameters()]
        next(c.parameters()).grad.fill_(float("nan"))  # type: ignore[union-attr]
        models["generator"].step()
        assert all(torch.equal(old, new) for old, new in zip(before, c.parameters(), strict=True))
        assert models._replica.core._each[0].dropped == 0
        models["generator"].zero_grad()
        assert torch.isnan(next(c.parameters()).grad).all()  # type: ignore[arg-type]


def _shared() -> dict[str, nn.Module]:
    trunk = nn.Linear(2, 2)
    return {"actor": nn.Sequential(trunk, nn.Linear(2, 1)), "critic": nn.Sequential(trunk, nn.Linear(2, 1))}


def _two() -> dict[str, Any]:
    return dict(zip(("generator", "critic"), gan(), strict=True))


def _frozen() -> dict[str, nn.Module]:
    return _two() | {"features": nn.Linear(2, 2).requires_grad_(False)}


REFUSED: dict[str, tuple[Callable[[], dict[Any, Any]], Any, dict[str, Any]]] = {
    "0.weight of critic is also in actor": (_shared, None, {}),
    "critic without an optimizer": (_two, lambda m: {"generator": SGD(m["generator"].parameters(), 0.1)}, {}),
    "the optimizers are SGD": (_two, lambda m: SGD(m["generator"].parameters(), 0.1), {}),
    "an optimizer of 'other', which is no model": (
        _two, lambda m: {n: SGD(m["critic"].parameters(), 0.1) for n in ("generator", "critic", "other")}, {},
    ),
    "is no parameter of the model": (
        _two, lambda m: {n: SGD(m["critic"].parameters(), 0.1) for n in ("generator", "critic")}, {},
    ),
    "features has no parameter that requires a gradient": (_frozen, None, {}),
    "'a b' is no name": (lambda: {"a b": nn.Linear(1, 1), "c": nn.Linear(1, 1)}, None, {}),
    "1 of two models or more": (lambda: {"a": nn.Linear(1, 1)}, None, {}),
    "sync trains one model a job": (_two, None, {"algorithm": {"name": "sync"}}),
    "easgd trains one model a job": (_two, None, {"algorithm": {"name": "easgd", "synchronous": True}}),
    "spec.exchange.readInPlace: true": (_two, None, {"exchange": {"readInPlace": True}}),
}  # fmt: skip


@pytest.mark.parametrize("words", REFUSED)
def test_what_does_not_go_together_is_refused_in_a_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: str
) -> None:
    make, optimizers, spec = REFUSED[words]
    models = make()
    with (
        only_worker(tmp_path, monkeypatch, **({"optimizer": {}} | spec)) as asgd,
        pytest.raises(UserError, match=r"asgd\.connect|spec") as told,
    ):
        asgd.connect(models, optimizers(models) if optimizers else None)
    assert words in str(told.value)


SCRIPT = """
    import torch, asgd
    from torch import nn
    torch.manual_seed(0)
    x = torch.randn(320, 2) + 3
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 16, shuffle=True)
    g = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    c = nn.Sequential(nn.Linear(2, 8), nn.ReLU(), nn.Linear(8, 1))
    bce = nn.functional.binary_cross_entropy_with_logits
    models = asgd.connect(
        {"generator": g, "critic": c},
        {"generator": torch.optim.Adam(g.parameters(), 2e-3), "critic": torch.optim.Adam(c.parameters(), 2e-3)},
    )
    og, oc = models["generator"], models["critic"]
    for epoch in range(8):
        for number, (real,) in enumerate(models.until_stopped(loader)):
            ones = torch.ones(len(real), 1)
            fake = g(torch.randn(len(real), 4))
            oc.zero_grad()
            loss = bce(c(real), ones) + bce(c(fake.detach()), 0 * ones)
            loss.backward()
            oc.step(loss=loss)
            if number % 2:
                og.zero_grad()
                loss = bce(c(fake), ones)
                loss.backward()
                og.step(loss=loss)
"""


def validated(folder: Path, **spec: Any) -> list[str]:
    """What `asgd validate` says of the parameters of a job whose file lies in `folder`."""
    return parameter_lines(load_job(write_job(folder, {"entrypoint": "train.py", **spec})), folder)


def test_validate_names_the_models_their_optimizers_and_parameters_without_training(tmp_path: Path) -> None:
    write(tmp_path, train=SCRIPT)
    assert validated(tmp_path) == ["models: generator (Adam, 58 parameters), critic (Adam, 33 parameters)"]


def test_validate_says_why_models_can_not_be_counted_and_who_steps(tmp_path: Path) -> None:
    write(tmp_path, train="import asgd\nimport no_such_module\nasgd.connect({'a': g, 'b': c})")
    (line,) = validated(tmp_path, optimizer={"name": "adamw"})
    assert line.startswith(
        "models: a, b, all by spec.optimizer (adamw); not counted, for the script can't be run"
    )
    assert line.endswith(
        "up to asgd.connect(): ModuleNotFoundError: No module named 'no_such_module' (train.py:2)"
    )


def test_validate_says_of_a_script_with_one_model_that_it_is_known_when_it_runs(tmp_path: Path) -> None:
    write(tmp_path, train="import asgd\nasgd.connect(model, optimizer)")
    assert validated(tmp_path) == ["model and parameters: known when the script runs"]


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_gan_in_two_workers_on_two_shards_says_how_far_each_model_is(tmp_path: Path) -> None:
    write(tmp_path, train=SCRIPT)
    ran = run_spec(
        tmp_path,
        {
            "entrypoint": "train.py",
            "stopAfter": {"epochs": 8},
            "workers": {"replicas": 2},
            "parameterServer": {"shards": 2},
        },
    )
    summary = ran.summary
    assert summary["stopReason"] == "epochs" and summary["epochs"] == 8
    counts = summary["strategyFigures"]
    assert counts["criticUpdates"] + counts["generatorUpdates"] == summary["updates"]
    assert counts["criticUpdates"] > counts["generatorUpdates"] > 0
    assert {"generator", "critic"} <= summary["scalars"].keys()
    assert "generator: Adam of the script, run on the servers (1 group); critic: Adam" in ran.said
