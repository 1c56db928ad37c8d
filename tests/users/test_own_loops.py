"""Own loops by real processes: what their data and their writing into the model come to in a job of several workers."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from safetensors.torch import load_file

from tests.users.jobs import run_spec, write

pytestmark = pytest.mark.timeout(300)

DEALT = """
    import os, sys, torch, asgd
    from torch import nn
    x = torch.arange(640.).reshape(640, 1)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), batch_size=8, num_workers=NUMBER)
    model = nn.Linear(1, 1)
    optimizer = asgd.connect(model)
    for epoch in optimizer.until_stopped(range(50)):
        for (batch,) in optimizer.until_stopped(loader):
            optimizer.zero_grad()
            loss = model(batch / 640).pow(2).mean()
            loss.backward()
            optimizer.step(loss=loss)
            print("batch", epoch, int(batch[0]), flush=True)
            DIES
"""


def batches(log: str) -> list[tuple[int, int]]:
    return [
        (int(epoch), int(first)) for epoch, first in re.findall(r"^batch (\d+) (\d+)$", log, re.MULTILINE)
    ]


@pytest.mark.slow
@pytest.mark.parametrize("number", [0, 2])
def test_two_workers_share_the_batches_of_each_epoch_and_epochs_end_the_job(
    tmp_path: Path, number: int
) -> None:
    write(tmp_path, train=DEALT.replace("NUMBER", str(number)).replace("DIES", ""))
    spec = {"entrypoint": "train.py", "stopAfter": {"epochs": 3}, "workers": {"replicas": 2}}
    ran = run_spec(tmp_path, spec)
    summary = ran.summary
    assert (summary["stopReason"], summary["samples"], summary["epochs"]) == ("epochs", 3 * 640, 3.0)
    came = [first for worker in range(2) for _, first in batches(ran.log(f"worker-{worker}"))]
    assert sorted(came) == sorted([*range(0, 640, 8)] * 3)
    assert "every sample once an epoch" in str(summary)


@pytest.mark.slow
def test_what_a_worker_that_dies_held_is_read_by_others(tmp_path: Path) -> None:
    text = DEALT.replace("NUMBER", "0").replace("DIES", "if optimizer.index == 1 and epoch == 1: os._exit(9)")
    write(tmp_path, train=text)
    workers = {"replicas": 2, "backoffLimitPerIndex": 1}
    ran = run_spec(tmp_path, {"entrypoint": "train.py", "stopAfter": {"epochs": 3}, "workers": workers})
    assert (ran.summary["stopReason"], ran.summary["epochs"]) == ("epochs", 3.0)
    assert ran.summary["samples"] == 3 * 640


@pytest.mark.slow
def test_weights_loaded_after_connect_count_and_onecyclelr_runs(tmp_path: Path) -> None:
    write(
        tmp_path,
        train="""
        import torch, torch.nn as nn, torch.nn.functional as F, asgd
        torch.manual_seed(0)
        X = torch.randn(256, 4); Y = X.sum(1, keepdim=True)
        model = nn.Linear(4, 1)
        optimizer = asgd.connect(model)
        model.load_state_dict({"weight": torch.ones(1, 4), "bias": torch.zeros(1)})
        scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.1, total_steps=100)
        for number in optimizer.until_stopped(range(5)):
            optimizer.zero_grad()
            loss = F.mse_loss(model(X), Y); loss.backward()
            optimizer.step(loss=loss)
            scheduler.step()
            print("loss", round(float(loss.detach()), 9), flush=True)
        """,
    )
    ran = run_spec(tmp_path, {"entrypoint": "train.py", "workers": {"replicas": 2}})
    assert ran.summary["loss"] < 1e-9
    for worker in range(2):
        assert ran.log(f"worker-{worker}").count("loss 0.0\n") == 5


TUNED = """
    import torch, asgd
    from torch import nn
    class Net(nn.Module):
        def __init__(s):
            super().__init__(); s.backbone = nn.Linear(4, 4); s.critic = nn.Linear(4, 4); s.head = nn.Linear(4, 1)
        def forward(s, x): return s.head(s.critic(s.backbone(x)))
    torch.manual_seed(0)
    x = torch.randn(320, 4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x), 32, shuffle=True)
    model = Net(); model.backbone.requires_grad_(False)
    before = model.backbone.weight.detach().clone()
    optimizer = asgd.connect(model, UNFREEZES)
    for step, (a,) in enumerate(batch for epoch in range(2) for batch in optimizer.until_stopped(loader)):
        if step == 3: model.backbone.requires_grad_(True)
        optimizer.zero_grad(); loss = (model(a) - 1).pow(2).mean(); loss.backward(); optimizer.step(loss=loss)
        with torch.no_grad(): model.critic.weight.clamp_(-0.01, 0.01)
    print("moved", bool((model.backbone.weight - before).abs().max() > 0))
"""


@pytest.mark.parametrize(
    ("algorithm", "unfreezes", "sentence"),
    [
        ({}, "", "parameter critic.weight between two steps"),
        pytest.param(
            {"name": "asgd", "mode": "delta"}, "",
            'parameter backbone.weight was frozen then and has got a gradient now, which nobody trains; name what is'
            ' unfrozen later: asgd.connect(model, unfreezes=["backbone*"])',
            marks=pytest.mark.slow,
        ),
        pytest.param({"name": "asgd", "mode": "delta"}, 'unfreezes=["backbone.*"]', "", marks=pytest.mark.slow),
    ],
)  # fmt: skip
def test_a_layer_unfrozen_later_and_weights_clamped_after_each_step_train_or_are_refused_by_name(
    tmp_path: Path, algorithm: dict[str, Any], unfreezes: str, sentence: str
) -> None:
    write(tmp_path, train=TUNED.replace("UNFREEZES", unfreezes))
    spec = {"entrypoint": "train.py", "stopAfter": {"updates": 999}, "batchSize": 32}
    ran = run_spec(tmp_path, spec | ({"algorithm": algorithm} if algorithm else {}))
    if sentence:
        assert ran.code == 2
        assert sentence in ran.said.splitlines()[-1]
        return
    assert ran.summary["stopReason"] == "ended"
    assert "moved True" in ran.log("worker-0")
    saved = load_file(ran.output / "model.safetensors")
    assert {"backbone.weight", "backbone.bias"} <= set(saved)
    assert float(saved["critic.weight"].abs().max()) <= 0.01 + 1e-8
