"""The first worker brings its script's optimizer and the servers run it: agreement, restarts, figures that move."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from msgspec.structs import replace

from asgd.server.core import ServerCore
from asgd.server.manifest import Manifest
from asgd.server.saving import Restored
from asgd.spec.types import Group, Optimizer
from asgd.wire.messages import Exchange, Fault, Hello, Init, Reply, Welcome
from asgd.wire.rule import Rule, pack, rule_difference, sentence, unpack, with_rule
from tests.checks.virtual import job

LAYOUT = b'[["head.weight",[2]],["head.bias",[2]]]'
ONES = np.ones(4, np.float32)
ADAMW = Optimizer(name="adamw", learning_rate=0.5, weight_decay=0.0)


def rule(optimizer: Optimizer | None = ADAMW, rate: str = "0.5", kind: str = "AdamW", why: str = "") -> bytes:
    return pack(Rule(kind, [{"lr": rate}], optimizer, why))


DELTA = rule(None, kind="NAdam", why="the servers have no rule for NAdam")
GROUPED = pack(
    Rule(
        "SGD",
        [{"lr": "0.5", "params": ["head.weight"]}, {"lr": "0.25", "params": ["head.bias"]}],
        Optimizer(
            learning_rate=0.5,
            groups=(
                Group(match=("head.weight",), learning_rate=0.5, momentum=0.0),
                Group(match=("head.bias",), learning_rate=0.25, momentum=0.5),
            ),
        ),
    )
)


def core(run: str = "one", restored: Restored | None = None, **spec: Any) -> ServerCore:
    server = ServerCore(
        job(**{"stopAfter": {"updates": 9}, "workers": {"replicas": 3}, "optimizer": {}, **spec}),
        0,
        1,
        run=run,
    )
    server.restore(restored, 1.0)
    return server


def answer(server: ServerCore, message: Any, payload: Any = None) -> Any:
    told = server.receive(f"worker {message.index}".encode(), message, payload, 1.0)
    return told[0][1]


def hello(index: int = 0, told: bytes = b"") -> Hello:
    return Hello("check", "worker", index, 1, 4, "a", 64, tensors=LAYOUT, rule=told, own_loop=True)


def begun(told: bytes, weights: Any = ONES, **spec: Any) -> ServerCore:
    """A server that worker 0 has joined."""
    server = core(**spec)
    assert isinstance(answer(server, hello(0, told)), Welcome)
    if not server.shard.ready:
        answer(server, Init(0, 1, 0), memoryview(weights).cast("B"))
    return server


def push(server: ServerCore, sequence: int, gradient: Any = ONES, **more: Any) -> Any:
    base = server.shard.state.version
    message = Exchange(0, 1, sequence, 0, base, 8, 1, False, True, **more)
    return answer(server, message, memoryview(np.array(gradient, np.float32)).cast("B"))


def kept(server: ServerCore, run: str, number: int = 3) -> Restored:
    shard = server.shard
    arrays = {name: array.copy() for name, array in shard.arrays().items()}
    manifest = Manifest("check", number, 1, 4, "a", [], "asgd", 1, 8, [], 0.0, run)
    return Restored(number, 4, "a", arrays, json.loads(json.dumps(shard.meta())), None, manifest)


def weights(server: ServerCore) -> list[float]:
    return [float(value) for value in server.shard.state.weights]


def test_the_servers_run_the_rule_that_the_first_worker_brings_and_tell_people() -> None:
    server = begun(rule())
    assert isinstance(push(server, 1), Reply)
    # AdamW's first step is its rate, whatever the gradient's size.
    assert weights(server) == pytest.approx([0.5] * 4)
    assert sorted(server.shard.state.slots) == ["first", "second"]
    assert server.primary
    told = server.primary.status(1.0)
    assert told.optimizer == "AdamW of the script, run on the servers (1 group)"


def test_a_rule_that_no_server_has_puts_the_job_into_delta_mode() -> None:
    server = begun(DELTA)
    push(server, 1)
    assert weights(server) == [2.0] * 4
    assert not server.shard.state.slots
    assert sentence(server.shard.rule) == (
        "NAdam of the script, run in each worker (1 group): the servers have no rule for NAdam"
    )


def test_rounds_go_by_the_rule_too() -> None:
    server = begun(rule(), algorithm={"name": "sync"})
    push(server, 1)
    server.settle(1.0)
    assert weights(server) == pytest.approx([0.5] * 4)


def test_figures_that_a_scheduler_has_moved_hold_for_their_push_and_no_longer() -> None:
    server = begun(rule(Optimizer(learning_rate=0.5)))
    push(server, 1, settings=[{"learning_rate": 0.25}])
    assert weights(server) == [0.75] * 4
    push(server, 2)
    assert weights(server) == [0.25] * 4


def test_a_batch_that_was_dropped_says_nothing_of_figures() -> None:
    server = begun(rule(), algorithm={"name": "sync"})
    push(server, 1, settings=[{"learning_rate": 0.25}])
    answer(server, Exchange(0, 1, 2, 0, 0, 8, 0, False, False, bare=True))
    server.settle(1.0)
    assert weights(server) == pytest.approx([0.75] * 4)


def test_groups_have_figures_of_their_own() -> None:
    server = begun(GROUPED)
    push(server, 1)
    assert weights(server) == [0.5, 0.5, 0.75, 0.75]
    push(server, 2, settings=[{}, {"momentum": 0.0, "learning_rate": 0.125}])
    assert weights(server) == [0.0, 0.0, 0.625, 0.625]


def test_a_rate_of_0_at_the_start_is_followed() -> None:
    server = begun(rule(Optimizer(learning_rate=0.0)))
    push(server, 1)
    push(server, 2, settings=[{"learning_rate": 0.5}])
    assert weights(server) == [0.5] * 4


def test_a_rollbacks_factor_is_put_on_rates_that_are_followed() -> None:
    spec = job(optimizer={}, onDivergence="Rollback", checkpoint={"uri": "memory://x"})
    server = ServerCore(spec, 0, 1, rollbacks=1)
    assert isinstance(answer(server, hello(0, rule(Optimizer(learning_rate=1.0)))), Welcome)
    answer(server, Init(0, 1, 0), memoryview(ONES).cast("B"))
    push(server, 1, rollbacks=1, settings=[{"learning_rate": 0.5}])
    assert weights(server) == [1 - 0.5 * spec.spec.rollback.rate_factor] * 4


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ([{"momentum": 0.5}], "momentum is 0.5, and there is no room for it"),
        ([{"learning_rate": -1.0}], "learning_rate is -1"),
        ([{"learning_rate": float("nan")}], "learning_rate is nan"),
        ([{"beta1": 0.5}], "sgd has no figure beta1"),
        ([{}, {"learning_rate": 1.0}], "figures of 2 groups, which no optimizer of the servers has"),
    ],
)
def test_figures_that_can_not_be_are_refused(settings: Any, why: str) -> None:
    server = begun(rule(Optimizer(learning_rate=0.5)))
    fault = push(server, 1, settings=settings)
    assert isinstance(fault, Fault) and (fault.code, fault.text) == ("refused:settings", why)
    assert weights(server) == [1.0] * 4


def test_figures_without_a_rule_and_a_rule_that_is_none_are_refused() -> None:
    server = begun(b"")
    assert push(server, 1, settings=[{"learning_rate": 1.0}]).code == "refused:settings"
    for wrong in (b"{}", pack(Rule("X", [], Optimizer(name="zero")))):
        assert answer(core(), hello(0, wrong)).code == "refused:rule"


@pytest.mark.parametrize(
    ("other", "how"),
    [
        (rule(rate="0.1"), "AdamW, group 0: lr is 0.1, and 0.5 in this job"),
        (rule(kind="Adam"), "the optimizer is Adam, and AdamW in this job"),
        (GROUPED, "the optimizer is SGD, and AdamW in this job"),
        (b"", "its code hands over no optimizer, and the job has AdamW"),
    ],
)
def test_a_worker_whose_optimizer_differs_is_refused_by_name(other: bytes, how: str) -> None:
    server = begun(rule())
    refused = answer(server, hello(1, other))
    assert refused.code == "layout"
    assert refused.text == f"worker 1: {how}; all workers of a job must build the same optimizer"
    assert isinstance(answer(server, hello(2, rule())), Welcome)


def test_parameters_in_other_groups_are_named() -> None:
    told = unpack(GROUPED)
    assert told
    swapped = [{**told.groups[0], "params": ["head.bias"]}, {**told.groups[1], "params": ["head.weight"]}]
    how = rule_difference(GROUPED, pack(replace(told, groups=swapped)))
    assert how == "SGD, group 0: parameter head.bias is in it, and in another group in this job"


def test_a_worker_that_leaves_before_it_has_brought_weights_binds_nobody() -> None:
    server = core()
    answer(server, hello(0, rule()))
    server.shard.leave(0)
    assert isinstance(answer(server, hello(1, GROUPED)), Welcome)
    assert server.shard.rule == GROUPED and sorted(server.shard.state.slots) == ["momentum"]


def test_a_restart_goes_on_with_the_rule_and_its_momentum() -> None:
    server = begun(rule())
    push(server, 1)
    after = core(restored=kept(server, "one"))
    assert answer(after, hello(1, rule(rate="0.1"))).code == "layout"
    assert isinstance(answer(after, hello(0, rule())), Welcome)
    for each in (server, after):
        push(each, 2, [3.0, 0.0, -1.0, 2.0])
    assert weights(after) == weights(server)


def test_another_run_takes_the_optimizer_of_its_own_script_where_the_checkpoint_has_what_it_needs() -> None:
    server = begun(rule())
    push(server, 1)
    slower = rule(replace(ADAMW, learning_rate=0.125), rate="0.125")
    after = core("two", kept(server, "one"))
    assert isinstance(answer(after, hello(0, slower)), Welcome)
    assert answer(after, hello(1, rule())).code == "layout"
    again = core("two", kept(server, "one"))
    refused = answer(again, hello(0, GROUPED))
    assert refused.text == (
        "worker 0: the optimizer is SGD, and AdamW in this job, and the checkpoint has no momentum; allowed: the same"
        " optimizer"
    )


def test_without_an_optimizer_of_the_script_nothing_is_different() -> None:
    spec = job(optimizer={"learningRate": 0.5}).spec
    assert with_rule(spec, b"") is spec and sentence(b"") == ""
    server = begun(b"", optimizer={"learningRate": 0.5})
    push(server, 1)
    assert weights(server) == [0.5] * 4
