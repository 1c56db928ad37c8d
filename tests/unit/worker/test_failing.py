"""What a worker makes of an exception of the user's code: a sentence where no restart mends it, else nothing."""

from __future__ import annotations

from typing import Any, cast

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, Dataset

from asgd.errors import TryAgain, UserError
from asgd.wire.messages import Done, Failed
from asgd.worker.failing import tell
from asgd.worker.users_code import place, sentence


class Shard:
    """Answers that all workers have failed, or not; None: not at all."""

    def __init__(self, everybody: bool | None) -> None:
        self.everybody, self.heard = everybody, list[Failed]()

    def ask(self, message: Failed, patience_seconds: float) -> Done:
        self.heard.append(message)
        if self.everybody is None:
            raise TryAgain("silence")
        return Done(b"everybody" if self.everybody else b"")


class Core:
    def __init__(self, steps: int = 0, sequence: int = 0) -> None:
        self.steps, self.sequence = steps, sequence


def raised(what: Any) -> BaseException:
    try:
        what()
    except Exception as error:
        return error
    raise AssertionError


def told(error: BaseException, shard: Shard, core: Core) -> str:
    try:
        tell(error, "train.py", 1, 7, cast(Any, core), cast(Any, shard))
    except UserError as refusal:
        return str(refusal)
    return ""


@pytest.mark.parametrize("everybody", [True, False, None])
def test_the_last_worker_to_fail_says_so_with_the_line_and_others_go_their_way(
    everybody: bool | None,
) -> None:
    shard = Shard(everybody)
    said = told(raised(lambda: {}["word"]), shard, Core())
    assert [(heard.index, heard.incarnation) for heard in shard.heard] == [(1, 7)]
    assert shard.heard[0].place.startswith("test_failing.py:")
    start = "spec.entrypoint: train.py failed in every worker before its first push: KeyError: 'word' (test_failing.py:"
    assert said.startswith(start) if everybody else said == ""


def test_after_its_first_push_a_worker_asks_nobody() -> None:
    shard = Shard(True)
    assert told(raised(lambda: 1 / 0), shard, Core(steps=3, sequence=2)) == "" and not shard.heard
    assert told(raised(lambda: 1 / 0), shard, Core(steps=3)), "local steps that no push has told of"


def test_batch_norm_of_one_sample_is_refused_by_whichever_worker_meets_it() -> None:
    layer = nn.Sequential(nn.BatchNorm1d(3)).train()
    shard = Shard(False)
    said = told(raised(lambda: layer(torch.zeros(1, 3))), shard, Core(steps=9, sequence=9))
    assert "batch norm has met a batch of 1 sample, as in plain PyTorch" in said and "drop_last=True" in said
    assert not shard.heard


class Broken(Dataset[Any]):
    def __len__(self) -> int:
        return 4

    def __getitem__(self, index: int) -> Any:
        raise LookupError("no such word")


def test_what_a_loader_process_raises_is_told_by_the_users_own_line_in_it() -> None:
    error = raised(lambda: list(DataLoader(Broken(), num_workers=1)))
    line = Broken.__getitem__.__code__.co_firstlineno + 1
    assert place(error) == f"test_failing.py:{line}"
    assert sentence(error) == f"LookupError: no such word (test_failing.py:{line})"
