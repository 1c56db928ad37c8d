"""Public training scripts with one worker: the loss curve is that of the same script in plain PyTorch."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

import asgd
import tests.users.odd_loops  # noqa: F401  # adds to the lists
from tests.users.alone import Plain, PlainSGD, only_worker, work_alone
from tests.users.loops import LOOPS, PARTS, Part
from tests.users.toys import Texts, net, points

pytestmark = pytest.mark.timeout(120)
UPDATES = 14


@pytest.mark.parametrize("name", LOOPS)
def test_a_loop_in_one_worker_has_the_loss_curve_of_plain_pytorch(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = LOOPS[name](Plain())
    with only_worker(tmp_path, monkeypatch) as joined:
        found = LOOPS[name](joined)
    alike(found, expected)


def after(steps: int, script: Any) -> Tensor:
    """The weights that `script` (plain PyTorch, or the worker) has after so many steps, which it does not count."""
    model = net()
    optimizer = script.connect(model)
    for _, batch in zip(range(steps), optimizer.until_stopped(DataLoader(points(400), 8)), strict=False):
        optimizer.zero_grad()
        loss = nn.functional.cross_entropy(model(batch[0]), batch[1])
        loss.backward()
        optimizer.step(loss=loss)
    return torch.cat([p.detach().reshape(-1) for p in model.parameters()])


def test_at_the_end_of_the_job_a_script_has_the_weights_with_its_last_step(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_worker(tmp_path, monkeypatch, stopAfter={"updates": 9}) as joined:
        found = after(1000, joined)
    assert found == pytest.approx(after(9, Plain()), abs=1e-6)
    assert not torch.allclose(found, after(8, Plain()), atol=1e-3)


def alike(found: list[float], expected: list[float]) -> None:
    assert found == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert len(found) >= 6 and len({*found}) > 3, "it trains"


# -- the same as tasks -----------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A batch, and the state of torch's random numbers when it came."""

    batch: Any
    random: Tensor


def trained(folder: Path, part: Part, accumulate: int = 1, **spec: Any) -> tuple[list[float], list[Seen]]:
    """(losses, batches) of a job with one worker."""
    losses: list[float] = []
    batches: list[Seen] = []

    def loss(model: nn.Module, batch: Any) -> Tensor:
        batches.append(Seen(copy.deepcopy(batch), torch.get_rng_state()))
        value = part.loss(batch)
        losses.append(value.item())
        return value

    task = asgd.Task(
        model=part.model, loss=loss, data=part.data, collate=part.how.get("collate_fn"),
        data_workers=part.how.get("num_workers", 0), accumulate=accumulate,
    )  # fmt: skip
    assert work_alone(folder, task, stopAfter={"updates": UPDATES}, **spec) == 0
    return losses, batches


def plain(part: Part, batches: list[Seen], every: int = 1, **optimizer: Any) -> list[float]:
    """The losses of torch.optim.SGD on these batches; a step each `every` of them, with their mean gradient."""
    chosen, losses = PlainSGD(part.model, **optimizer), []
    for number, seen in enumerate(batches, 1):
        torch.set_rng_state(seen.random)
        loss = part.loss(seen.batch)
        (loss / every).backward()
        losses.append(loss.item())
        if number % every == 0:
            chosen.step()
            chosen.zero_grad()
    return losses


@pytest.mark.parametrize("name", PARTS)
def test_a_task_in_one_worker_has_the_loss_curve_of_plain_pytorch(name: str, tmp_path: Path) -> None:
    losses, batches = trained(tmp_path, PARTS[name]())
    assert len(losses) >= UPDATES
    alike(losses, plain(PARTS[name](), batches))


def test_micro_batches_of_a_task_have_the_loss_curve_of_plain_accumulation(tmp_path: Path) -> None:
    losses, batches = trained(tmp_path, PARTS["unlike_lengths_in_dicts"](), 4)
    assert len(batches[0].batch["names"]) == 2
    alike(losses, plain(PARTS["unlike_lengths_in_dicts"](), batches, 4))
    epoch = [name for seen in batches[:12] for name in seen.batch["names"]]
    assert sorted(epoch) == sorted(Texts()[index]["name"] for index in range(24)), "each text once"


@pytest.mark.parametrize(
    ("ours", "torchs"),
    [
        ({"momentum": 0.5}, {"momentum": 0.5}),
        ({"momentum": 0.5, "nesterov": True}, {"momentum": 0.5, "nesterov": True}),
        ({"weightDecay": 0.0625}, {"weight_decay": 0.0625}),
    ],
    ids=["momentum", "nesterov", "decay"],
)
def test_the_jobs_optimizer_is_torch_sgd(
    ours: dict[str, Any], torchs: dict[str, Any], tmp_path: Path
) -> None:
    losses, batches = trained(tmp_path, PARTS["four_lines"](), optimizer={"learningRate": 0.25, **ours})
    alike(losses, plain(PARTS["four_lines"](), batches, **torchs))
