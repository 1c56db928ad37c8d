"""`asgd.connect(model, optimizer)` by real processes: what people are told, and schedulers in a job of two workers."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.users.jobs import MEET, run_spec, write

pytestmark = pytest.mark.timeout(300)

SCRIPT = """
    import os, torch, asgd
    from torch import nn
    torch.manual_seed(0)
    x = torch.randn(320, 4)
    loader = torch.utils.data.DataLoader(torch.utils.data.TensorDataset(x, x.sum(1, keepdim=True)), 16, shuffle=True)
    model = nn.Sequential(nn.Linear(4, 8), nn.Tanh(), nn.Linear(8, 1))
    bare = [p for p in model.parameters() if p.ndim == 1]
    rest = [p for p in model.parameters() if p.ndim > 1]
    optimizer = torch.optim.AdamW([{"params": rest}, {"params": bare, "weight_decay": 0.0}], weight_decay=DECAY)
    scheduler = torch.optim.lr_scheduler.OneCycleLR(optimizer, 0.05, total_steps=10 * len(loader))
    optimizer = asgd.connect(model, optimizer)
    for epoch in range(10):
        for a, b in optimizer.until_stopped(loader):
            optimizer.zero_grad()
            loss = (model(a) - b).pow(2).mean()
            loss.backward()
            optimizer.step(loss=loss)
            scheduler.step()
    print("scheduler at", scheduler.last_epoch, flush=True)
"""


@pytest.mark.slow
def test_two_workers_go_through_one_schedule_together_and_the_run_says_whose_optimizer_it_is(
    tmp_path: Path,
) -> None:
    script = SCRIPT.replace("DECAY", "0.01").replace("    for epoch", "    meet(2)\n    for epoch")
    write(tmp_path, train=MEET + script)
    ran = run_spec(
        tmp_path, {"entrypoint": "train.py", "stopAfter": {"epochs": 10}, "workers": {"replicas": 2}}
    )
    told = "AdamW of the script, run on the servers (2 groups)"
    assert ran.summary["optimizer"] == told
    assert f"optimizer  {told}" in ran.said
    assert ran.summary["loss"] < 0.5
    found = [int(at) for n in range(2) for at in re.findall(r"scheduler at (\d+)", ran.log(f"worker-{n}"))]
    # NB: each alone makes a part of 200 steps; together they are at the schedule's end, or just before.
    assert len(found) == 2 and all(150 <= at <= 200 for at in found)


@pytest.mark.slow
def test_a_worker_that_builds_another_optimizer_ends_the_job_with_its_name(tmp_path: Path) -> None:
    write(tmp_path, train=SCRIPT.replace("DECAY", '0.01 * (1 + int(os.environ["ASGD_INDEX"]))'))
    ran = run_spec(
        tmp_path, {"entrypoint": "train.py", "stopAfter": {"seconds": 30}, "workers": {"replicas": 2}}
    )
    assert ran.code == 2
    assert re.search(
        r"worker \d: AdamW, group 0: weight_decay is 0\.0\d, and 0\.0\d in this job; all workers", ran.said
    )
