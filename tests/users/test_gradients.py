"""What a worker pushes of a user's model: the gradient of the whole batch, whatever the model is made of."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from asgd.errors import UserError
from asgd.task import Task
from asgd.worker.device.backward import backward
from asgd.worker.device.extras import aliases
from asgd.worker.device.flat import Flat, layout_of
from asgd.worker.reading.leased import LeasedBatch

pytestmark = pytest.mark.timeout(300)
CPU = torch.device("cpu")


def mean_loss(model: nn.Module, batch: Any) -> Tensor:
    return F.cross_entropy(model(batch[0]), batch[1])


def half_loss(model: nn.Module, batch: Any) -> Tensor:
    with torch.autocast("cpu", dtype=torch.bfloat16):
        return mean_loss(model, batch)


def batch(samples: int = 10) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    return torch.randn(samples, 6, generator=generator), torch.arange(samples) % 3


def net() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 8), nn.Tanh(), nn.Linear(8, 3))


def plain_gradient(model: nn.Module) -> Tensor:
    mean_loss(model, batch()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


def pushed(model: nn.Module, loss: Any = mean_loss, **parts: Any) -> tuple[Tensor, float]:
    flat = Flat(model, CPU)
    task = Task(model=model, loss=loss, data=[], **parts)
    value = backward(task, flat, CPU, LeasedBatch(batch(), 10))
    return flat.gather().clone(), value


@pytest.mark.parametrize("parts", [2, 3, 10, 64])
def test_accumulated_micro_batches_give_the_gradient_and_loss_of_the_whole_batch(parts: int) -> None:
    gradient, loss = pushed(net(), accumulate=parts)
    torch.testing.assert_close(gradient, plain_gradient(net()), rtol=1e-5, atol=1e-7)
    assert loss == pytest.approx(mean_loss(net(), batch()).item(), rel=1e-5)


def test_autocast_computes_in_half_precision_and_pushes_float32() -> None:
    gradient, _ = pushed(net(), half_loss)
    exact = plain_gradient(net())
    assert gradient.dtype == torch.float32
    assert not torch.equal(gradient, exact)
    torch.testing.assert_close(gradient, exact, rtol=0.05, atol=0.01)


COMPILER = any(shutil.which(name) for name in ("c++", "g++", "clang++"))
NO_COMPILER = pytest.mark.skipif(not COMPILER, reason="inductor needs a C++ compiler; none is here")
INDUCTOR = pytest.param("inductor", marks=[pytest.mark.slow, NO_COMPILER])


@pytest.mark.parametrize("backend", ["aot_eager", INDUCTOR])
def test_a_compiled_model_has_the_layout_and_the_gradient_of_the_plain_one(backend: str) -> None:
    compiled = torch.compile(net(), backend=backend)
    assert layout_of(compiled) == layout_of(net())
    gradient, _ = pushed(compiled)
    torch.testing.assert_close(gradient, plain_gradient(net()), rtol=1e-5, atol=1e-6)


def test_a_compiled_part_has_the_layout_of_the_plain_one_too() -> None:
    model = net()
    model[0] = torch.compile(model[0], backend="eager")
    assert layout_of(model) == layout_of(net())


def test_gradients_are_found_where_a_loop_of_ones_own_has_put_other_tensors() -> None:
    model = net()
    flat = Flat(model, CPU)
    torch.optim.SGD(model.parameters(), lr=1.0).zero_grad(set_to_none=True)
    mean_loss(model, batch()).backward()
    torch.testing.assert_close(flat.gather(), plain_gradient(net()))
    model.zero_grad(set_to_none=True)
    assert flat.gather().abs().sum() == 0


class Shared(nn.Module):
    """Tied head, a frozen layer and one that no batch uses."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Linear(6, 6, bias=False)
        self.again = nn.Linear(6, 6, bias=False)
        self.again.weight = self.first.weight
        self.frozen = nn.Linear(6, 3).requires_grad_(False)
        self.unused = nn.Linear(2, 2)

    def forward(self, x: Tensor) -> Tensor:
        answer: Tensor = self.frozen(self.again(torch.tanh(self.first(x))))
        return answer


def test_tied_parameters_count_once_frozen_ones_stay_and_unused_ones_have_gradient_zero() -> None:
    torch.manual_seed(0)
    model = Shared()
    frozen = model.frozen.weight.clone()
    assert [name for name, _ in layout_of(model)] == ["first.weight", "unused.weight", "unused.bias"]
    gradient, _ = pushed(model)
    torch.manual_seed(0)
    assert torch.equal(gradient[:36], plain_gradient(Shared()))
    assert gradient[36:].abs().sum() == 0
    assert torch.equal(model.frozen.weight, frozen)
    assert model.again.weight is model.first.weight
    assert aliases(model) == {"again.weight": "first.weight"}


def tied(weight: Callable[[Tensor], Tensor]) -> nn.Module:
    model = nn.Sequential(nn.Linear(4, 4), nn.Linear(4, 4, bias=False))
    model[1].weight = nn.Parameter(weight(model[0].weight.data))
    return model


@pytest.mark.parametrize(
    "weight",
    [lambda w: w, lambda w: w.t(), lambda w: w[:2]],
    ids=["the same memory", "transposed", "a part"],
)
def test_parameters_that_share_memory_without_being_one_are_refused_by_name(
    weight: Callable[[Tensor], Tensor],
) -> None:
    with pytest.raises(UserError) as refusal:
        layout_of(tied(weight))
    assert str(refusal.value) == (
        "spec.entrypoint: the model's 0.weight and 1.weight share memory without being one parameter; allowed: the same"
        " nn.Parameter under both names, or memory of their own (.clone())"
    )


def test_a_buffer_that_is_a_view_of_a_trained_parameter_is_refused_too() -> None:
    model = nn.Linear(4, 4)
    model.register_buffer("first", model.weight.data[0])
    with pytest.raises(UserError, match="the model's weight and first share memory"):
        layout_of(model)


def test_parts_of_one_memory_that_have_no_element_in_common_are_parameters_of_their_own() -> None:
    """A matrix of three, cut by columns; a model that is flat already; a frozen pair that shares."""
    model, whole = nn.Module(), torch.randn(4, 6)
    for number, columns in enumerate(whole.split(2, dim=1)):
        model.register_parameter(f"part{number}", nn.Parameter(columns))
    model.register_parameter("frozen", nn.Parameter(torch.ones(3), requires_grad=False))
    model.register_buffer("same", model.get_parameter("frozen").data)
    assert Flat(model, CPU).layout == layout_of(model) == [(f"part{number}", [4, 2]) for number in range(3)]


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (nn.Linear(2, 2).double(), "the model's parameter weight is float64; allowed: float32"),
        (
            nn.Linear(2, 2).to(torch.float8_e5m2),
            "the model's parameter weight is float8_e5m2; allowed: float32",
        ),
        (nn.LazyLinear(2), "the model's parameter weight has no shape yet"),
        (nn.ReLU(), "the model has no parameter that requires a gradient"),
        (nn.Linear(2, 2).requires_grad_(False), "the model has no parameter that requires a gradient"),
    ],
    ids=["double", "float8", "lazy", "empty", "frozen"],
)
def test_a_model_that_cannot_be_trained_is_refused_in_one_sentence(model: nn.Module, words: str) -> None:
    with pytest.raises(UserError) as refusal:
        layout_of(model)
    assert str(refusal.value).startswith(f"spec.entrypoint: {words}")
