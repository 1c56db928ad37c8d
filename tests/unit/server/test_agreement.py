"""Shard 0 keeps what the first member's data and model are like, and refuses by name whoever differs."""

from __future__ import annotations

import json
from typing import Any

import pytest

from asgd.server.agreement import LOSSES_MOST, Agreement
from asgd.server.core import ServerCore
from asgd.server.saving import Restored
from asgd.wire.agreement import Part, describe, pack
from asgd.wire.first_loss import loss_part
from asgd.wire.messages import Command, Fault, Hello, Welcome
from tests.checks.virtual import job

LAYOUT = b'[["head.weight",[2]],["head.bias",[2]]]'


def told(label: int = 1, mean: float = 0.5) -> bytes:
    return pack([describe("sample 17", label), describe("buffer mean", mean)])


def hello(index: int, digest: bytes = b"", role: Any = "worker", **more: Any) -> Hello:
    fields = {"size": 4, "layout": "a", "tensors": LAYOUT, **more}
    return Hello(job="check", role=role, index=index, incarnation=1, dataset=64, digest=digest, **fields)


def core(run: str = "one", shard: int = 0) -> ServerCore:
    spec = job(stopAfter={"updates": 9}, parameterServer={"shards": 2}, workers={"replicas": 3})
    return ServerCore(spec, shard, 1, run=run)


def answer(server: ServerCore, message: Any) -> Any:
    ((_, said, _),) = server.receive(f"{message}".encode(), message, None, 1.0)
    return said


def test_who_reads_other_data_than_the_first_member_is_refused_by_the_name_of_the_sample() -> None:
    server = core()
    assert isinstance(answer(server, hello(0, told())), Welcome)
    refused = answer(server, hello(1, told(label=2)))
    assert isinstance(refused, Fault) and refused.code == "layout"
    start = "worker 1: sample 17 differs from what worker 0 reads, in integers or strings; all processes of a job must"
    assert refused.text.startswith(start)
    assert isinstance(answer(server, hello(2, told())), Welcome)


def test_the_evaluator_is_compared_too_and_a_restarted_first_worker_with_itself() -> None:
    server = core()
    answer(server, hello(0, told()))
    refused = answer(server, hello(0, told(mean=2.0), "evaluator"))
    assert refused.text.startswith(
        "the evaluator: buffer mean differs from what worker 0 has, in floating-point"
    )
    again = answer(server, hello(0, told(label=3)))
    assert again.text.startswith("worker 0: sample 17 differs from what it was when this worker joined first")


def test_who_tells_nothing_is_compared_with_nobody() -> None:
    server = core()
    for index, digest in enumerate([b"", told(), b""]):
        assert isinstance(answer(server, hello(index, digest)), Welcome)
    assert answer(server, hello(1, told(label=2))).code == "layout"


def loop(index: int, label: int | None = None, mean: float = 0.5) -> Hello:
    """A script's hello; without `label` it has not begun to read."""
    parts = [describe("sample 17", label)] if label is not None else []
    return hello(index, pack([*parts, describe("buffer mean", mean)]), own_loop=True)


def test_a_loop_of_its_own_tells_its_data_later_and_is_compared_with_the_first_that_did() -> None:
    server = core()
    for index in range(3):
        assert isinstance(answer(server, loop(index)), Welcome)
    assert isinstance(answer(server, loop(1, label=1)), Welcome)
    assert isinstance(answer(server, loop(0, label=1)), Welcome)
    refused = answer(server, loop(2, label=2))
    assert refused.code == "layout" and "sample 17 differs from what worker 1 reads" in refused.text
    assert refused.text.endswith("or pass deal=False to until_stopped where each worker has data of its own")
    # The model is still the one that worker 0 told first.
    assert "buffer mean differs from what worker 0 has" in answer(server, loop(2, mean=3.0)).text


def test_a_resumed_loop_says_what_has_changed_when_it_begins_to_read() -> None:
    server = core()
    answer(server, loop(0))
    answer(server, loop(0, label=1))
    resumed = restarted(server, "two")
    assert resumed.primary
    notices = resumed.primary.coordinator.notices
    answer(resumed, loop(0))
    assert not notices.newest
    assert isinstance(answer(resumed, loop(0, label=2)), Welcome)
    (notice,) = notices.newest
    assert (
        "another model or another loss than before: sample 17 differs, in integers or strings" in notice.text
    )
    assert answer(resumed, loop(1, label=1)).code == "layout"


def restarted(server: ServerCore, run: str) -> ServerCore:
    """Another start of shard 0 that takes over what `server` would save."""
    after = core(run)
    state = json.loads(json.dumps(server.job_state(2.0)))
    assert after.primary
    after.primary.restore(Restored(0, 0, "", {}, {}), state, 2.0)
    return after


def test_a_restart_within_the_run_still_refuses_and_a_resumed_job_says_what_has_changed_and_goes_on() -> None:
    server = core()
    answer(server, hello(0, told()))
    assert answer(restarted(server, "one"), hello(1, told(label=2))).code == "layout"
    resumed = restarted(server, "two")
    assert isinstance(answer(resumed, hello(1, told(label=2))), Welcome)
    assert resumed.primary
    (notice,) = resumed.primary.coordinator.notices.newest
    assert notice.text == (
        "the job goes on with other data, another model or another loss than before: sample 17 differs,"
        " in integers or strings"
    )
    assert answer(resumed, hello(0, told())).code == "layout"


def test_a_resumed_job_with_the_same_data_says_nothing() -> None:
    server = core()
    answer(server, hello(0, told()))
    resumed = restarted(server, "two")
    answer(resumed, hello(1, told()))
    assert resumed.primary and not resumed.primary.coordinator.notices.newest


@pytest.mark.parametrize("shard", [0, 1])
def test_who_has_another_model_hears_which_parameter_and_how_from_every_shard(shard: int) -> None:
    server = core(shard=shard)
    answer(server, hello(0))
    other = b'[["head.weight",[2]],["head.bias",[3]]]'
    refused = answer(server, hello(1, size=5, layout="b", tensors=other))
    assert refused.code == "layout"
    assert refused.text == (
        "worker 1 has another model: parameter head.bias has shape [3], and [2] in this job's model"
    )


def test_it_hears_so_also_when_the_job_is_over() -> None:
    server = core()
    answer(server, hello(0, told()))
    answer(server, Command("stop", "interrupted"))
    assert answer(server, hello(1, told(label=2))).code == "layout"
    other = b'[["head.weight",[2]],["head.bias",[3]]]'
    assert "head.bias" in answer(server, hello(1, told(), size=5, layout="b", tensors=other)).text
    assert answer(server, hello(1, told())).code == "stopped"


def test_after_a_restart_another_model_is_still_told_by_parameter() -> None:
    server = core()
    answer(server, hello(0))
    after = restarted(server, "one")
    after.shard.restore(4, "a", {"weights": server.shard.state.weights}, server.shard.meta())
    other = b'[["head.weight",[2]],["head.bias",[3]]]'
    assert "head.bias has shape [3]" in answer(after, hello(1, size=5, layout="b", tensors=other)).text


@pytest.mark.parametrize("digest", [b"\xff", b"\x01", pack([Part("a", "b", "c")])[:-1]])
def test_what_is_no_digest_is_refused_at_the_door(digest: bytes) -> None:
    refused = answer(core(), hello(0, digest))
    assert refused.code == "refused:digest"


def lossy(loss: float = 2.0, weights: float = 1.0, device: str = "cpu", count: int = 8) -> bytes:
    figures = [[size, size / 2, size / 3] for size in (weights, loss, loss)]
    return pack([describe("sample 17", 1), loss_part(count, device, *figures), describe("buffer mean", 0.5)])


def test_who_trains_by_another_loss_is_refused_with_how_far_it_is() -> None:
    server = core()
    answer(server, hello(0, lossy()))
    refused = answer(server, hello(1, lossy(2.5)))
    assert refused.code == "layout" and refused.text.startswith(
        "worker 1: the loss of the first 8 samples on cpu differs from what worker 0 computes, by 20.0%; all processes"
        " of a job must build the same loss: seed what is drawn, sort what is listed"
    )
    assert isinstance(answer(server, hello(2, lossy(2.01))), Welcome), "devices round in their own ways"
    again = answer(server, hello(0, lossy(2.5)))
    assert "differs from what it was when this worker joined first, by 20.0%" in again.text


@pytest.mark.parametrize("other", [{"weights": 3.0}, {"device": "cuda"}, {"count": 4}])
def test_losses_at_other_weights_on_another_device_or_of_fewer_samples_are_not_compared(
    other: dict[str, Any],
) -> None:
    server = core()
    answer(server, hello(0, lossy()))
    assert isinstance(answer(server, hello(1, lossy(2.5, **other))), Welcome)
    assert answer(server, hello(2, lossy(2.5))).code == "layout"
    if "weights" not in other:
        assert answer(server, hello(2, lossy(3.0, **other))).code == "layout", "it is compared with its like"


def test_a_restart_remembers_the_loss_and_a_resumed_job_says_that_it_has_changed() -> None:
    server = core()
    answer(server, hello(0, lossy()))
    assert answer(restarted(server, "one"), hello(1, lossy(2.5))).code == "layout"
    resumed = restarted(server, "two")
    assert isinstance(answer(resumed, hello(1, lossy(2.5))), Welcome)
    assert resumed.primary
    (notice,) = resumed.primary.coordinator.notices.newest
    assert notice.text == (
        "the job goes on with other data, another model or another loss than before:"
        " the loss of the first 8 samples on cpu differs, by 20.0%"
    )
    assert answer(resumed, hello(0, lossy())).code == "layout"


def test_losses_of_more_names_than_a_job_has_are_not_kept() -> None:
    agreement = Agreement()
    for count in range(1, 100):
        agreement.meet("worker 0", lossy(count=count))
    assert len(agreement.losses) == LOSSES_MOST
