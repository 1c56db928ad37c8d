"""Optimizers on flat vectors: PyTorch's own where the mathematics is the same, and the same bits in both libraries."""

from __future__ import annotations

import inspect
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from asgd.algorithms.optimizers import make_optimizer
from asgd.kernel import F32
from asgd.spec.optimizers import FIELDS
from asgd.spec.types import Optimizer
from tests.checks.optimizers import KINDS, LAYERWISE, PaperMuon, places, pytorchs, reference, spec_of, tensors

STEPS, SIZE = 200, 257


def gradients() -> list[F32]:
    rng = np.random.default_rng(3)
    return [rng.standard_normal(SIZE).astype(np.float32) * np.float32(0.5) for _ in range(STEPS)]


def start() -> F32:
    return np.random.default_rng(4).standard_normal(SIZE).astype(np.float32)


def ours(kind: str, w: Any, convert: Any, sign: float = 1.0) -> Any:
    spec = spec_of(kind)
    optimizer = make_optimizer(spec)
    optimizer.lay_out(tensors(SIZE))
    slots: dict[str, Any] = {}
    for name in optimizer.slots:
        slots[name] = w * 0
    scratch = w * 0
    for count, gradient in enumerate(gradients(), 1):
        g = convert(gradient * np.float32(sign))
        before = g * 1
        optimizer.update(w, g, sign * spec.learning_rate, slots, scratch, count)
        assert (g == before).all()
    return w


def theirs(kind: str) -> Any:
    wanted = reference(spec_of(kind), start())
    for gradient in gradients():
        wanted.step(gradient)
    return wanted.theta


@pytest.mark.parametrize("name", FIELDS)
def test_what_a_job_does_not_give_is_pytorchs_own_default(name: str) -> None:
    spec = msgspec.convert({"name": name}, Optimizer)
    if name in ("lion", "lamb"):
        assert spec.betas == ((0.9, 0.99) if name == "lion" else (0.9, 0.999))
        assert spec.weight_decay == (0 if name == "lion" else 0.01)
        return
    if name == "muon":
        known = inspect.signature(torch.optim.Muon).parameters
        for own in ("momentum", "nesterov", "weight_decay", "ns_steps"):
            assert getattr(spec, own) == known[own].default
        return
    given = pytorchs(spec, torch.nn.Parameter(torch.zeros(1))).defaults
    kind = {"sgd": "SGD", "adagrad": "Adagrad", "adam": "Adam", "adamw": "AdamW", "rmsprop": "RMSprop"}
    known = getattr(torch.optim, kind.get(name, "Adadelta"))([torch.zeros(1)], lr=spec.learning_rate).defaults
    if name == "adagrad":
        # The one exception: Adagrad's has been 1e-8 here from the start, as Adam's, and not 1e-10.
        known["eps"] = 1e-8
    assert given == known


@pytest.mark.parametrize("kind", KINDS)
def test_an_optimizer_goes_where_pytorchs_own_goes(kind: str) -> None:
    found = ours(kind, start(), lambda g: g)
    assert np.abs(found - start()).max() > 0.1
    np.testing.assert_allclose(found, theirs(kind), rtol=2e-4, atol=2e-6)


ELEMENTWISE = [kind for kind in KINDS if spec_of(kind).name not in LAYERWISE]


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_numpy_on_a_server_and_torch_in_a_worker_give_the_same_bits(kind: str) -> None:
    in_numpy = ours(kind, start(), lambda g: g)
    in_torch = ours(kind, torch.from_numpy(start()), torch.from_numpy)
    assert np.array_equal(in_numpy.view(np.uint32), in_torch.numpy().view(np.uint32))


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_a_pushed_difference_at_a_negative_rate_is_the_gradient_at_a_positive_one(kind: str) -> None:
    forward, mirrored = ours(kind, start(), lambda g: g), ours(kind, start(), lambda g: g, sign=-1.0)
    assert np.array_equal(forward, mirrored)


@pytest.mark.parametrize("kind", ELEMENTWISE)
def test_an_update_is_the_same_whether_it_comes_whole_or_chunk_by_chunk(kind: str) -> None:
    spec = spec_of(kind)
    optimizer = make_optimizer(spec)
    whole, parts = start(), start()
    slots = [{name: np.zeros(SIZE, np.float32) for name in optimizer.slots} for _ in range(2)]
    scratch = np.empty(SIZE, np.float32)
    for count, g in enumerate(gradients()[:9], 1):
        optimizer.update(whole, g, 0.05, slots[0], scratch, count)
        for span in (slice(0, 100), slice(100, 101), slice(101, SIZE)):
            cut = {name: array[span] for name, array in slots[1].items()}
            optimizer.update(parts[span], g[span], 0.05, cut, scratch[: parts[span].size], count)
    assert np.array_equal(whole, parts)


def scheduled(spec: Optimizer, convert: Any, halve_every: int) -> tuple[Any, F32]:
    """(ours, PyTorch's) after all gradients, the rate halved now and then."""
    w = convert(start())
    optimizer, parameter = make_optimizer(spec), torch.nn.Parameter(torch.from_numpy(start()))
    slots: dict[str, Any] = {}
    for name in optimizer.slots:
        slots[name] = w * 0
    scratch = w * 0
    pytorch = pytorchs(spec, parameter)
    schedule = torch.optim.lr_scheduler.StepLR(pytorch, halve_every, 0.5)
    for count, gradient in enumerate(gradients(), 1):
        optimizer.update(w, convert(gradient), schedule.get_last_lr()[0], slots, scratch, count)
        parameter.grad = torch.from_numpy(gradient)
        pytorch.step()
        schedule.step()
    return w, parameter.detach().numpy()


@pytest.mark.parametrize("convert", [np.array, torch.from_numpy], ids=["numpy", "torch"])
@pytest.mark.parametrize("nesterov", [False, True])
@pytest.mark.parametrize("decay", [0.0, 2.0**-6])
def test_momentum_under_a_schedule_is_pytorchs_bit_for_bit(
    convert: Any, nesterov: bool, decay: float
) -> None:
    """Factors are powers of two: products are exact, so that it is no matter whether they are fused with the sum."""
    spec = msgspec.convert(
        {"learningRate": 2.0**-4, "momentum": 0.5, "nesterov": nesterov, "weightDecay": decay}, Optimizer
    )
    found, expected = scheduled(spec, convert, 7)
    assert np.array_equal(np.asarray(found).view(np.uint32), expected.view(np.uint32))


@pytest.mark.parametrize("kind", [kind for kind in ELEMENTWISE if "lion" not in kind])
def test_a_scheduled_optimizer_is_pytorchs_to_rounding(kind: str) -> None:
    found, expected = scheduled(spec_of(kind), np.array, 30)
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=2e-6)


def test_momentum_remembers_a_stale_gradient_at_its_share() -> None:
    optimizer = make_optimizer(spec_of("momentum"))
    w, slots = np.zeros(1, np.float32), {"momentum": np.zeros(1, np.float32)}
    g, scratch = np.ones(1, np.float32), np.empty(1, np.float32)
    optimizer.update(w, g, 0.5, slots, scratch, 1, scale=0.25)
    optimizer.update(w, g, 0.5, slots, scratch, 2)
    assert w[0] == pytest.approx(-0.5 * 0.25 - 0.5 * (0.9 * 0.25 + 1)) and g[0] == 1


@pytest.mark.parametrize("kind", ["lamb", "lamb with decay"])
def test_lamb_in_numpy_and_in_torch_differ_by_no_more_than_a_rounding_of_norms(kind: str) -> None:
    in_torch = ours(kind, torch.from_numpy(start()), torch.from_numpy)
    np.testing.assert_allclose(ours(kind, start(), lambda g: g), in_torch.numpy(), rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize("kind", ["muon", "muon with all"])
def test_muon_in_a_worker_is_pytorchs_own_to_the_rounding_of_sums(kind: str) -> None:
    """Its matrices go through the same bfloat16; other tensors are AdamW's."""
    spec = spec_of(kind)
    found = ours(kind, torch.from_numpy(start()), torch.from_numpy)
    common = {"lr": spec.learning_rate, "weight_decay": spec.weight_decay}
    for span, shape in places(SIZE):
        parameter = torch.nn.Parameter(torch.from_numpy(start()[span].reshape(shape)))
        if len(shape) == 2:
            optimizer: Any = torch.optim.Muon(
                [parameter], momentum=spec.momentum, nesterov=spec.nesterov, ns_steps=spec.ns_steps,
                adjust_lr_fn=spec.adjust_lr_fn, **common,
            )  # fmt: skip
        else:
            optimizer = torch.optim.AdamW([parameter], betas=spec.betas, eps=spec.epsilon, **common)
        for gradient in gradients():
            parameter.grad = torch.from_numpy(gradient[span].reshape(shape))
            optimizer.step()
        wanted = parameter.detach().flatten()
        torch.testing.assert_close(found[span], wanted, rtol=1e-4, atol=2e-6)


def test_the_reference_of_muon_is_the_iteration_that_pytorch_makes() -> None:
    from torch.optim._muon import _zeropower_via_newtonschulz as iterated

    matrix = np.random.default_rng(6).standard_normal((6, 4))
    ours = PaperMuon(spec_of("muon"), matrix).orthogonal(matrix)
    theirs = iterated(torch.from_numpy(matrix), (3.4445, -4.7750, 2.0315), 5, 1e-7).float().numpy()
    assert np.abs(ours - theirs).max() < 0.05


@pytest.mark.parametrize("name", LAYERWISE)
def test_a_tensor_of_zeros_begins_to_move_and_one_without_a_gradient_stays(name: str) -> None:
    optimizer = make_optimizer(msgspec.convert({"name": name, "weightDecay": 0}, Optimizer))
    optimizer.lay_out([("a", [2, 2]), ("b", [3]), ("c", [2, 3])])
    w = np.array([0] * 7 + [1] * 6, np.float32)
    g = np.array([1, -1, 1, 1, 1, -1, 1, 0, 0, 0, 0, 0, 0], np.float32)
    slots = {slot: np.zeros_like(w) for slot in optimizer.slots}
    optimizer.update(w, g, 0.1, slots, np.empty_like(w), 1)
    assert (np.sign(w[4:7]) == -g[4:7]).all() and w[:4].all()
    assert (w[7:] == 1).all() and np.isfinite(w).all()


@pytest.mark.parametrize("convert", [np.array, torch.from_numpy], ids=["numpy", "torch"])
def test_a_variance_that_rounding_makes_negative_counts_as_none(convert: Any) -> None:
    """Where gradients are all alike the mean of squares is the square of the mean, give or take a rounding."""
    spec = msgspec.convert({"name": "rmsprop", "centered": True, "alpha": 0.5, "epsilon": 0.1}, Optimizer)
    optimizer, w = make_optimizer(spec), convert(np.zeros(500, np.float32))
    g = convert(np.random.default_rng(1).standard_normal(500).astype(np.float32))
    slots = {"meanSquares": w * 0, "mean": w * 0}
    for count in range(1, 100):
        optimizer.update(w, g, 0.001, slots, w * 0, count)
    assert bool((slots["meanSquares"] < slots["mean"] * slots["mean"]).any())
    assert np.isfinite(np.asarray(w)).all()
