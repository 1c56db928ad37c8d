"""What a worker's log says of parameter groups that users' code has made: one line, however large they are."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from asgd.spec.types import Optimizer
from asgd.wire.rule import Rule, Rules, pack
from asgd.worker.optimizing.stepping import TaskOptimizer
from asgd.worker.optimizing.telling import group_lines

LORA = [(f"layers.{n}.{side}.weight", [4, 2]) for n in range(14) for side in ("lora_A", "lora_B")]
SIDES = [[name for name, _ in LORA if side in name] for side in ("lora_A", "lora_B")]


def groups(*options: dict[str, str]) -> list[dict[str, Any]]:
    plain = {"lr": "0.002", "weight_decay": "0.01"}
    return [plain | own | {"params": names} for own, names in zip(options, SIDES, strict=False)]


def lines(brought: Any = b"", local: Any = None) -> list[str]:
    return list(group_lines(Optimizer(), brought, LORA, local))


def test_groups_of_many_parameters_are_one_line_of_counts_settings_and_what_their_names_share() -> None:
    told = groups({}, {"lr": "0.01"})
    wanted = [
        "parameter groups: group 0 (lr 0.002): 14 tensors, 112 parameters, layers…lora_A.weight;"
        " group 1 (lr 0.01): 14 tensors, 112 parameters, layers…lora_B.weight"
    ]
    assert lines(pack(Rule("AdamW", told, Optimizer(name="adamw")))) == wanted
    assert lines(pack(Rule("NAdam", told, why="the servers have no rule for NAdam"))) == wanted


def test_settings_that_differ_between_groups_are_told_and_others_are_not() -> None:
    (line,) = lines(pack(Rule("AdamW", groups({"weight_decay": "0.0"}, {}))))
    assert "group 0 (lr 0.002, weight_decay 0.0): 14 tensors" in line
    assert "group 1 (lr 0.002, weight_decay 0.01): 14 tensors" in line
    assert "weight_decay" not in lines(pack(Rule("AdamW", groups({}, {}))))[0]


def test_what_is_in_no_group_is_told_and_one_group_of_all_is_not() -> None:
    (line,) = lines(pack(Rule("AdamW", groups({}))))
    assert line.endswith("; in none: 14 tensors, 112 parameters, layers…lora_B.weight")
    assert lines(pack(Rule("AdamW", [{"lr": "0.002"}]))) == []
    assert lines() == []


def test_the_groups_of_each_of_several_models_have_a_line() -> None:
    critic, size = {"lr": "0.1"}, 28 * 8
    rules = {"generator": Rule("Adam", groups({}, {"lr": "0.5"})), "critic": Rule("SGD", [critic])}
    brought = pack(Rules(rules, [size, 16]))
    (line,) = group_lines(Optimizer(), brought, [*LORA, ("critic.weight", [16])])
    assert line.startswith("parameter groups of generator: group 0 (lr 0.002): 14 tensors")


def test_a_tasks_optimizer_that_steps_in_the_worker_has_its_line_too() -> None:
    parameters = [torch.nn.Parameter(torch.zeros(1)) for _ in range(2)]
    adam = torch.optim.Adam([{"params": [parameters[0]]}, {"params": [parameters[1]]}])
    local = TaskOptimizer(adam, np.zeros(2, np.float32), groups=groups({}, {"lr": "0.5"}))
    (line,) = lines(local=local)
    assert "group 1 (lr 0.5): 14 tensors, 112 parameters, layers…lora_B.weight" in line
