"""Parameters in bfloat16 or float16: one worker is plain PyTorch with a float32 master copy; servers hold float32."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

import asgd
from asgd.errors import UserError
from asgd.worker.device.flat import Flat, kinds, layout_of
from asgd.worker.optimizing.stepping import adopt, masters
from tests.users.alone import RATE, only_worker, work_alone
from tests.users.toys import net, points

STEPS, CPU = 60, torch.device("cpu")
DELTA: dict[str, Any] = {"algorithm": {"name": "asgd", "mode": "delta"}}
Batches = list[tuple[Tensor, Tensor]]


def half(kind: torch.dtype = torch.bfloat16) -> nn.Module:
    return net().to(kind)


def mixed() -> nn.Module:
    """A hidden layer in bfloat16, a head in float32."""
    model = net()
    model[0].to(torch.bfloat16)
    return model


def answers(model: nn.Module, x: Tensor) -> Tensor:
    """Each layer computes in its own type."""
    for layer in model:
        weight = getattr(layer, "weight", x)
        x = layer(x.to(weight.dtype))
    return x.float()


def trained(folder: Path, model: nn.Module, own: Any = None, accumulate: int = 1, **spec: Any) -> Batches:
    """Trains `model` as the only worker; returns the batches that it has seen."""
    seen = Batches()

    def loss(model: nn.Module, batch: tuple[Tensor, Tensor]) -> Tensor:
        seen.append(batch)
        return F.cross_entropy(answers(model, batch[0]), batch[1])

    task = asgd.Task(model=model, loss=loss, data=points(), optimizer=own, accumulate=accumulate)
    assert work_alone(folder, task, **({"stopAfter": {"samples": 8 * STEPS}} | spec)) == 0
    return seen


def plainly(model: nn.Module, batches: Batches, make: Any, share: float = 1.0) -> list[Tensor]:
    """The same in plain PyTorch; returns the float32 master copy."""
    masters = [nn.Parameter(p.detach().float()) for p in model.parameters()]
    optimizer = make(masters)
    for number, (x, y) in enumerate(batches, 1):
        (share * F.cross_entropy(answers(model, x), y)).backward()
        if number * share % 1:
            continue
        for own, master in zip(model.parameters(), masters, strict=True):
            assert own.grad is not None
            master.grad, own.grad = own.grad.float(), None
        optimizer.step()
        for own, master in zip(model.parameters(), masters, strict=True):
            own.data.copy_(master)
    return masters


def equal(one: nn.Module, other: nn.Module) -> bool:
    pairs = zip(one.parameters(), other.parameters(), strict=True)
    return all(a.dtype == b.dtype and torch.equal(a, b) for a, b in pairs)


def sgd(params: Any) -> torch.optim.Optimizer:
    return torch.optim.SGD(params, lr=RATE, momentum=0.5)


SGD = {"optimizer": {"learningRate": RATE, "momentum": 0.5}}
MODELS = {
    "bfloat16": half,
    "float16": lambda: half(torch.float16),
    "bfloat16 beside float32": mixed,
}


@pytest.mark.parametrize("name", MODELS)
def test_gradient_mode_is_plain_pytorch_with_a_master_copy_bit_for_bit(name: str, tmp_path: Path) -> None:
    model, plain = MODELS[name](), MODELS[name]()
    batches = trained(tmp_path, model, **SGD)
    assert len(batches) == STEPS
    plainly(plain, batches, sgd)
    assert equal(model, plain)
    assert not equal(model, MODELS[name]())


@pytest.mark.parametrize("name", MODELS)
def test_local_steps_are_made_on_the_master_copy(name: str, tmp_path: Path) -> None:
    model, plain = MODELS[name](), MODELS[name]()
    spec = {"exchange": {"pushEvery": 4, "fetchEvery": 4}}
    batches = trained(tmp_path, model, **SGD, **spec)
    found = plainly(plain, batches, sgd)
    # NB: what is pushed is a difference, so the last bit of float32 may differ; rounded, almost none does.
    for own, master in zip(model.parameters(), found, strict=True):
        torch.testing.assert_close(own.float(), master.to(own.dtype).float(), rtol=2**-7, atol=1e-4)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("as_instance", [False, True], ids=["function", "instance"])
def test_the_task_s_own_optimizer_steps_on_the_master_copy(
    name: str, as_instance: bool, tmp_path: Path
) -> None:
    def adagrad(params: Any) -> torch.optim.Optimizer:
        return torch.optim.Adagrad(params, lr=0.01, initial_accumulator_value=0.1)

    model, plain = MODELS[name](), MODELS[name]()
    own = adagrad([*model.parameters()]) if as_instance else adagrad
    batches = trained(tmp_path, model, own, optimizer={}, **DELTA)
    found = plainly(plain, batches, adagrad)
    for parameter, master in zip(model.parameters(), found, strict=True):
        torch.testing.assert_close(
            parameter.float(), master.to(parameter.dtype).float(), rtol=2**-7, atol=1e-4
        )
    for state in own.state.values() if isinstance(own, torch.optim.Optimizer) else []:
        assert state["sum"].dtype == torch.float32


def test_micro_batches_add_up_in_the_model_s_type_as_in_plain_pytorch(tmp_path: Path) -> None:
    model, plain = half(), half()
    batches = trained(tmp_path, model, accumulate=2, **SGD)
    assert len(batches) == 2 * STEPS
    plainly(plain, batches, sgd, share=0.5)
    assert equal(model, plain)


# -- the vector ----------------------------------------------------------------------------------------


def test_steps_that_are_too_small_for_the_model_s_type_add_up_in_the_master_copy() -> None:
    model = nn.Linear(1, 1, bias=False).to(torch.bfloat16)
    model.weight.data.fill_(1.0)
    flat = Flat(model, CPU)
    for _ in range(64):
        flat.weights += 2**-12
        flat.scatter()
    assert float(model.weight.detach()) == 1.0 + 2**-6


def test_what_somebody_writes_into_the_model_is_taken_over_and_the_rest_stays_precise() -> None:
    model = half()
    flat = Flat(model, CPU)
    flat.weights += 1e-5
    flat.scatter()
    precise = flat.weights.clone()
    flat.absorb()
    assert torch.equal(flat.weights, precise)
    with torch.no_grad():
        next(model.parameters())[0] = 2.0
    flat.absorb()
    assert bool((flat.weights[:6] == 2.0).all())
    assert torch.equal(flat.weights[6:], precise[6:])


def test_a_state_that_an_optimizer_was_made_with_is_precise_from_then_on() -> None:
    model = half()
    optimizer, flat = torch.optim.Adagrad(model.parameters(), initial_accumulator_value=0.5), Flat(model, CPU)
    adopt(optimizer, flat.parameters, masters(flat, flat.weights, flat.grads))
    held = optimizer.param_groups[0]["params"]
    assert {p.dtype for p in held} == {optimizer.state[p]["sum"].dtype for p in held} == {torch.float32}


def test_double_precision_is_refused_with_the_way_out() -> None:
    with pytest.raises(UserError) as caught:
        layout_of(net().double())
    assert str(caught.value) == (
        "spec.entrypoint: the model's parameter 0.weight is float64; allowed: float32, bfloat16, float16"
        " (model.float() makes it float32)"
    )
    assert kinds(mixed()) == {"bfloat16": 56, "float32": 27}


# -- own loops -----------------------------------------------------------------------------------------


def own_loop(lib: Any, model: nn.Module, clamp: float | None = None) -> nn.Module:
    """A script's loop over one batch."""
    optimizer = lib.connect(model)
    with torch.no_grad():
        next(model.parameters()).mul_(0.5)
    x, y = points().tensors
    for _ in range(20):
        optimizer.zero_grad()
        loss = F.cross_entropy(answers(model, x), y)
        loss.backward()
        optimizer.step(loss=loss)
        if clamp:
            with torch.no_grad():
                next(model.parameters()).clamp_(-clamp, clamp)
    return model


class Masters:
    """`asgd` in plain PyTorch, for `own_loop`."""

    def connect(self, model: nn.Module) -> Masters:
        self.model, self.masters = model, list[nn.Parameter]()
        return self

    def zero_grad(self) -> None:
        self.model.zero_grad()
        if not self.masters:
            self.masters = [nn.Parameter(p.detach().float()) for p in self.model.parameters()]
            self.optimizer = torch.optim.SGD(self.masters, lr=RATE)

    def step(self, loss: Any = None) -> None:
        for own, master in zip(self.model.parameters(), self.masters, strict=True):
            written = own.data != master.data.to(own.dtype)
            master.data[written] = own.data[written].float()
            assert own.grad is not None
            master.grad = own.grad.float()
        self.optimizer.step()
        for own, master in zip(self.model.parameters(), self.masters, strict=True):
            own.data.copy_(master)


def test_an_own_loop_with_a_model_in_bfloat16_is_plain_pytorch_with_a_master_copy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_worker(tmp_path, monkeypatch) as lib:
        model = own_loop(lib, half())
    assert equal(model, own_loop(Masters(), half()))


def test_what_an_own_loop_writes_between_steps_counts_in_delta_mode(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with only_worker(tmp_path, monkeypatch, **DELTA) as lib:
        model = own_loop(lib, half(), clamp=0.1)
    assert float(next(model.parameters()).detach().abs().max()) <= 0.1006
    plain = own_loop(Masters(), half(), clamp=0.1)
    for own, other in zip(model.parameters(), plain.parameters(), strict=True):
        torch.testing.assert_close(own.float(), other.float(), rtol=2**-7, atol=1e-4)


def test_what_an_own_loop_writes_between_steps_is_refused_where_the_next_pull_undoes_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UserError, match=r"written into parameter 0\.weight between two steps"):  # noqa: SIM117
        with only_worker(tmp_path, monkeypatch) as lib:
            own_loop(lib, half(), clamp=0.1)
