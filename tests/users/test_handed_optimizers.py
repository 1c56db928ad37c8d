"""`asgd.connect(model, optimizer)`: a script keeps its optimizer and scheduler, and has the losses of plain PyTorch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.optim import lr_scheduler
from torch.utils.data import DataLoader, TensorDataset

from asgd.errors import UserError
from asgd.worker import joined
from asgd.worker.reading.data import seed_worker
from tests.users.alone import only_worker

Make = Callable[[nn.Module], torch.optim.Optimizer]
Schedule = Callable[[torch.optim.Optimizer], Any]
STEPS = 60
CLOSE = 1e-6


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 16), nn.LayerNorm(16), nn.Tanh(), nn.Linear(16, 1))


def data() -> TensorDataset:
    draws = torch.Generator().manual_seed(1)
    x = torch.randn(160, 8, generator=draws)
    return TensorDataset(x, (x[:, :1] > 0).float())


def groups(model: nn.Module) -> list[dict[str, Any]]:
    """As transformers are trained: no decay of biases and norms, and another rate for the head."""
    named = list(model.named_parameters())
    bare = [p for name, p in named if name.endswith("bias") or name.startswith("1.")]
    head = [p for name, p in named if name == "3.weight"]
    rest = [p for name, p in named if name == "0.weight"]
    return [
        {"params": rest, "weight_decay": 0.1},
        {"params": bare, "weight_decay": 0.0},
        {"params": head, "lr": 0.03, "betas": (0.8, 0.99)},
    ]


def one_cycle(optimizer: torch.optim.Optimizer) -> Any:
    return lr_scheduler.OneCycleLR(optimizer, max_lr=0.02, total_steps=STEPS + 1)


def losses(asgd: Any, make: Make, schedule: Schedule | None, model: nn.Module | None = None) -> list[float]:
    """The usual loop. `asgd` None: plain PyTorch."""
    model = model or net()
    optimizer: Any = make(model)
    scheduler = schedule(optimizer) if schedule else None
    if asgd:
        optimizer = asgd.connect(model, optimizer)
    else:
        seed_worker(0, 0)
    found: list[float] = []
    for _ in range(STEPS // 20):
        loader = DataLoader(data(), batch_size=8)
        for x, y in optimizer.until_stopped(loader) if asgd else loader:
            optimizer.zero_grad()
            loss: Tensor = F.binary_cross_entropy_with_logits(model(x), y)
            loss.backward()
            optimizer.step(**({"loss": loss} if asgd else {}))
            if scheduler:
                scheduler.step()
            found.append(loss.item())
    return found


def said() -> str:
    """What the job's status says of the optimizer."""
    assert joined.connection is not None
    from asgd.wire.rule import pack, sentence

    handed = joined.connection._handed
    return sentence(pack(handed.rule)) if handed else ""


CASES: dict[str, tuple[Make, Schedule | None, str]] = {
    "AdamW with groups and OneCycleLR, which moves rates and betas": (
        lambda m: torch.optim.AdamW(groups(m), lr=0.01), one_cycle,
        "AdamW of the script, run on the servers (3 groups)",
    ),
    "SGD with momentum and OneCycleLR, which moves the momentum": (
        lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, weight_decay=0.01), one_cycle,
        "SGD of the script, run on the servers (1 group)",
    ),
    "Nesterov with StepLR": (
        lambda m: torch.optim.SGD(m.parameters(), 0.1, momentum=0.9, nesterov=True),
        lambda o: lr_scheduler.StepLR(o, 10, 0.5), "SGD of the script, run on the servers (1 group)",
    ),
    "Adam with warm-up from 0, by SequentialLR": (
        lambda m: torch.optim.Adam(m.parameters(), 0.02, weight_decay=0.01),
        lambda o: lr_scheduler.SequentialLR(
            o, [lr_scheduler.LambdaLR(o, lambda k: k / 10), lr_scheduler.CosineAnnealingLR(o, 50)], [10]
        ), "Adam of the script, run on the servers (1 group)",
    ),
    "RMSprop": (
        lambda m: torch.optim.RMSprop(m.parameters(), 0.01, momentum=0.5, centered=True), None,
        "RMSprop of the script, run on the servers (1 group)",
    ),
    "Adagrad": (
        lambda m: torch.optim.Adagrad(m.parameters(), 0.1), None, "Adagrad of the script, run on the servers (1 group)"
    ),
    "Adadelta": (
        lambda m: torch.optim.Adadelta(m.parameters()), None, "Adadelta of the script, run on the servers (1 group)"
    ),
    "AMSGrad, which no server knows": (
        lambda m: torch.optim.AdamW(groups(m), lr=0.01, amsgrad=True), one_cycle,
        "AdamW of the script, run in each worker (3 groups): the servers have no AdamW with amsgrad=True"
        " (algorithm.mode: delta)",
    ),
    "NAdam, which no server knows": (
        lambda m: torch.optim.NAdam(m.parameters(), 0.01), one_cycle,
        "NAdam of the script, run in each worker (1 group): the servers have no rule for NAdam (algorithm.mode: delta)",
    ),
    "an optimizer of a part of the model": (
        lambda m: torch.optim.AdamW(m[3].parameters(), lr=0.01), one_cycle,
        "AdamW of the script, run on the servers (1 group)",
    ),
    "Adafactor of a part of the model": (
        lambda m: torch.optim.Adafactor(m[3].parameters(), lr=0.01), None,
        "Adafactor of the script, run in each worker (1 group): the servers have no rule for Adafactor"
        " (algorithm.mode: delta)",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_one_worker_has_the_losses_of_plain_pytorch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, schedule, sentence = CASES[name]
    plain = losses(None, make, schedule)
    with only_worker(tmp_path, monkeypatch, optimizer={}) as asgd:
        ours = losses(asgd, make, schedule)
        assert said() == sentence
    assert len(plain) == STEPS
    assert ours == pytest.approx(plain, abs=CLOSE)


def test_a_scripts_groups_are_one_line_of_the_workers_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    with only_worker(tmp_path, monkeypatch, optimizer={}, stopAfter={"updates": 1}) as asgd:
        model = net()
        asgd.connect(model, torch.optim.AdamW(groups(model), lr=0.01))
    lines = [line for line in capfd.readouterr().out.splitlines() if "0.weight" in line]
    assert [line.partition(" ")[2] for line in lines] == [
        "parameter groups: group 0 (betas (0.9, 0.999), lr 0.01, weight_decay 0.1): 1 tensor, 128 parameters, 0.weight;"
        " group 1 (betas (0.9, 0.999), lr 0.01, weight_decay 0.0): 4 tensors, 49 parameters, 0.bias, 1.weight, 1.bias"
        " and 1 more; group 2 (betas (0.8, 0.99), lr 0.03, weight_decay 0.01): 1 tensor, 16 parameters, 3.weight"
    ]


def refused(make: Make, folder: Path, patch: pytest.MonkeyPatch, **spec: Any) -> str:
    """The sentence that the script ends with."""
    with only_worker(folder, patch, **{"optimizer": {}, **spec}) as asgd, pytest.raises(UserError) as error:
        losses(asgd, make, None)
    return str(error.value)


def sgd(model: nn.Module) -> torch.optim.Optimizer:
    return torch.optim.SGD(model.parameters(), 0.1)


REFUSED: dict[str, tuple[Make, dict[str, Any], str]] = {
    "an optimizer in the job file too": (
        sgd, {"optimizer": {"learningRate": 0.2}},
        "spec.optimizer.learningRate: 0.2, and the script hands its own SGD to asgd.connect(); allowed: one of them"
        " (only spec.optimizer.clipNorm may stand beside it)",
    ),
    "a tensor of another model": (
        lambda m: torch.optim.SGD([*m.parameters(), nn.Parameter(torch.zeros(3))], 0.1), {},
        "asgd.connect(model, optimizer): SGD's param_groups[0]['params'][6], of shape [3], is no parameter of the"
        " model; make it a part of the model, or take it out of the optimizer",
    ),
    "steps that need the loss anew": (
        lambda m: torch.optim.LBFGS(m.parameters()), {},
        "asgd.connect(model, optimizer): LBFGS can't be used, for its steps compute the loss several times",
    ),
    "no rule on the servers, in an algorithm that needs one": (
        lambda m: torch.optim.NAdam(m.parameters()), {"algorithm": {"name": "sync"}},
        "asgd.connect(model, optimizer): the servers have no rule for NAdam, and algorithm sync needs one; allowed:"
        " algorithm asgd, local-sgd or diloco",
    ),
    "no rule on the servers, and gradients asked for": (
        lambda m: torch.optim.NAdam(m.parameters()), {"algorithm": {"name": "asgd", "mode": "gradient"}},
        "asgd.connect(model, optimizer): the servers have no rule for NAdam, and algorithm asgd needs one; allowed:"
        " algorithm.mode: auto or delta",
    ),
    "an algorithm with a rule of its own": (
        sgd, {"algorithm": {"name": "downpour"}},
        "asgd.connect(model, optimizer): algorithm downpour can't step by the script's SGD, for its rule is Adagrad on"
        " the servers; allowed: asgd.connect(model), or an algorithm that takes any optimizer (asgd, sync, local-sgd,"
        " diloco)",
    ),
    "no optimizer at all": (
        lambda m: m.parameters(), {},  # type: ignore[arg-type, return-value]
        "asgd.connect(model, optimizer): generator is no torch.optim.Optimizer; allowed: one, or none",
    ),
}  # fmt: skip


@pytest.mark.parametrize("why", REFUSED)
def test_what_can_not_be_is_refused_in_a_sentence(
    why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make, spec, sentence = REFUSED[why]
    assert refused(make, tmp_path, monkeypatch, **spec) == sentence


def test_momentum_that_comes_after_the_servers_have_made_room_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = net()
    with only_worker(tmp_path, monkeypatch, optimizer={}) as asgd:
        optimizer = asgd.connect(model, sgd(model))
        one_cycle(optimizer)
        with pytest.raises(UserError, match=r"the momentum of SGD is 0.95 now and was 0 when it was handed"):
            optimizer.step()


def test_groups_and_state_are_those_of_the_scripts_optimizer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = net()
    own = torch.optim.NAdam(model.parameters(), 0.01)
    with only_worker(tmp_path, monkeypatch, optimizer={}) as asgd:
        optimizer = asgd.connect(model, own)
        model(torch.ones(1, 8)).sum().backward()
        optimizer.step()
        assert optimizer.param_groups is own.param_groups and optimizer.state is own.state
        kept = optimizer.state_dict()
        assert kept["state"][0]["step"] == 1 and kept["param_groups"][0]["lr"] == 0.01
        kept["param_groups"][0]["lr"] = 0.5
        optimizer.load_state_dict(kept)
        assert own.param_groups[0]["lr"] == 0.5
        with pytest.raises(UserError, match="all workers have agreed on the groups of NAdam"):
            optimizer.add_param_group({"params": []})
        own.param_groups[0]["params"] = own.param_groups[0]["params"][1:]
        with pytest.raises(UserError, match="groups of NAdam hold other parameters than in"):
            optimizer.step()


def test_a_state_that_the_servers_keep_is_not_loaded_and_a_warning_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = net()
    own = torch.optim.Adam(model.parameters(), 0.01)
    model(torch.ones(1, 8)).sum().backward()
    own.step()
    with only_worker(tmp_path, monkeypatch, optimizer={}) as asgd:
        with pytest.warns(UserWarning, match="what Adam has in its state already"):
            optimizer = asgd.connect(model, own)
        kept = own.state_dict()
        kept["param_groups"][0]["lr"] = 0.5
        with pytest.warns(UserWarning, match="the groups of Adam are loaded, and its state"):
            optimizer.load_state_dict(kept)
        assert optimizer.param_groups[0]["lr"] == own.param_groups[0]["lr"] == 0.5


def scaled(asgd: Any) -> list[float]:
    """A loss that is scaled, two batches a step, clipped; a closure now and then."""
    model = net()
    optimizer: Any = torch.optim.AdamW(groups(model), lr=0.01)
    optimizer = asgd.connect(model, optimizer) if asgd else optimizer
    scaler = torch.amp.GradScaler("cpu", init_scale=1024.0)
    found: list[float] = []
    for number, (x, y) in enumerate(DataLoader(data(), batch_size=8)):

        def loss(x: Tensor = x, y: Tensor = y) -> Tensor:
            return F.binary_cross_entropy_with_logits(model(x), y)

        if number % 5 == 4:

            def closure(loss: Callable[[], Tensor] = loss) -> Tensor:
                optimizer.zero_grad()
                value = loss()
                value.backward()  # type: ignore[no-untyped-call]
                return value

            found.append(optimizer.step(closure).item())
            continue
        scaler.scale(loss() / 2).backward()
        if number % 2:
            scaler.unscale_(optimizer)
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            scaler.step(optimizer)
            scaler.update()
            optimizer.zero_grad()
        found.append(loss().item())
    return found


def test_scalers_closures_accumulation_and_clipping_are_as_in_plain_pytorch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = scaled(None)
    with only_worker(tmp_path, monkeypatch, optimizer={}) as asgd:
        assert scaled(asgd) == pytest.approx(plain, abs=CLOSE)


def test_local_steps_of_the_scripts_optimizer_with_diloco(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = {"algorithm": {"name": "local-sgd", "period": 5}, "optimizer": {}}
    make, schedule, _ = CASES["AdamW with groups and OneCycleLR, which moves rates and betas"]
    with only_worker(tmp_path, monkeypatch, **spec) as asgd:
        ours = losses(asgd, make, schedule)
        assert said() == "AdamW of the script, run in each worker (3 groups): algorithm local-sgd steps there"
    # Every fifth step what was learnt goes over the centre, which rounds.
    assert ours == pytest.approx(losses(None, make, schedule), abs=1e-5)
