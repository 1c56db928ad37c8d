"""All processes of a job give data and model one meaning, whatever the shell says and however often they start; who
differs is refused by name before it can spoil anything."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.effort import first
from tests.users.jobs import ASGD, run, run_spec, write, write_job

BY_SET = """
import os, torch, asgd
import torch.nn.functional as F
from sklearn.datasets import load_digits
NAMES = "zero one two three four five six seven eight nine".split()
LEFT = 40
def task():
    digits = load_digits()
    x = torch.tensor(digits.data / 16, dtype=torch.float32)
    names = [NAMES[target] for target in digits.target]
    number = {name: i for i, name in enumerate(list(set(names)))}  # the order of a set
    print("CLASSES", *number, flush=True)
    y = torch.tensor([number[name] for name in names])
    model = torch.nn.Sequential(torch.nn.Linear(64, 64), torch.nn.ReLU(), torch.nn.Linear(64, 10))
    def loss(model, batch):
        global LEFT
        LEFT -= 1
        if not LEFT and os.environ["ASGD_WORKER_INDEX"] == "1" and not os.path.exists("died"):
            open("died", "w").close()
            os._exit(9)
        return F.cross_entropy(model(batch[0]), batch[1])
    data = torch.utils.data.TensorDataset(x[:1437], y[:1437])
    accuracy = lambda m: {"accuracy": float((m(x[1437:]).argmax(1) == y[1437:]).float().mean())}
    return asgd.Task(model=model, loss=loss, data=data, evaluate=accuracy)
"""
SPLIT_AT_IMPORT = """
import numpy as np, torch, torch.nn as nn, torch.nn.functional as F, asgd
from torch.utils.data import Subset, TensorDataset
g = torch.Generator().manual_seed(1)
X = torch.randn(400, 64, generator=g)
Y = torch.randint(0, 2, (400,), generator=g)  # noise: half is the best on unseen data
order = np.random.permutation(400)
train, test = Subset(TensorDataset(X, Y), order[:320]), Subset(TensorDataset(X, Y), order[320:])
def evaluate(model):
    x, y = X[test.indices], Y[test.indices]
    return {"accuracy": (model(x).argmax(1) == y).float().mean()}
def task():
    print("SPLIT", *test.indices[:8], flush=True)
    net = nn.Sequential(nn.Linear(64, 256), nn.ReLU(), nn.Linear(256, 2))
    return asgd.Task(model=net, loss=lambda m, b: F.cross_entropy(m(b[0]), b[1]), data=train, evaluate=evaluate)
"""
DIFFERS = """
import os, torch, torch.nn as nn, torch.nn.functional as F, asgd
def task(what):
    own = torch.Generator().manual_seed(os.getpid())
    x = torch.randn(200, 8, generator=own if what == "data" else torch.Generator().manual_seed(0))
    net = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Linear(16, 2))
    if what == "frozen":
        net[0].weight.requires_grad_(False).copy_(torch.randn(16, 8, generator=own))
    if what == "buffer":
        net.register_buffer("mean", torch.rand(8, generator=own))
    scale = torch.randn(8, generator=own) if what == "loss" else torch.ones(8)
    data = torch.utils.data.TensorDataset(x, (x.sum(1) > 0).long())
    return asgd.Task(model=net, loss=lambda m, b: F.cross_entropy(m(b[0] * scale), b[1]), data=data)
"""
RANDOM_BY_ITSELF = """
import os, torch, torch.nn as nn, torch.nn.functional as F, asgd
class Data(torch.utils.data.Dataset):
    def __len__(self): return 64
    def __getitem__(self, index):
        noise = torch.frombuffer(bytearray(os.urandom(8)), dtype=torch.uint8) / 255.0
        return noise, index % 2
def task():
    return asgd.Task(model=nn.Linear(8, 2), loss=lambda m, b: F.cross_entropy(m(b[0]), b[1]), data=Data())
"""
SCRIPT = """
import os, random, torch, torch.nn.functional as F, asgd
drawn = random.random() if os.environ.get("MINE") is None else random.Random(os.getpid()).random()
net = torch.nn.Sequential(torch.nn.Linear(4, 4), torch.nn.Linear(4, 1))
torch.nn.init.constant_(net[0].weight.requires_grad_(False), drawn)
optimizer = asgd.connect(net)
while not optimizer.stopped:
    optimizer.zero_grad()
    loss = net(torch.rand(8, 4)).pow(2).mean()
    loss.backward()
    optimizer.step(loss=loss)
"""
OWN_LOOP = """
import os, sys, random, torch, torch.nn.functional as F, asgd
shift = int(sys.argv[1].partition("=")[2]) or random.Random(os.getpid()).randrange(10**6)
x = torch.arange(640.).reshape(640, 1)
data = torch.utils.data.TensorDataset(x / 640, torch.arange(640) + shift)
loader = torch.utils.data.DataLoader(data, batch_size=8, shuffle=True)
model = torch.nn.Linear(1, 1)
optimizer = asgd.connect(model)
for epoch in optimizer.until_stopped(range(1000)):
    for batch, label in optimizer.until_stopped(loader):
        optimizer.zero_grad()
        loss = model(batch).pow(2).mean()
        loss.backward()
        optimizer.step(loss=loss)
"""


def lines(out: Path, mark: str) -> list[str]:
    """What the processes of a run have printed after `mark`."""
    said = "".join(log.read_text() for log in (out / "logs").glob("*-*.log"))
    return [line for line in said.splitlines() if line.startswith(mark)]


@pytest.mark.parametrize("shell", first(["random", "7"], 0))
def test_classes_numbered_by_a_set_are_the_same_in_all_processes_a_restart_and_a_replay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shell: str
) -> None:
    monkeypatch.setenv("PYTHONHASHSEED", shell)
    write(tmp_path, labels=BY_SET)
    ran = run_spec(
        tmp_path,
        {
            "entrypoint": "labels.py:task",
            "workers": {"replicas": 2},
            "stopAfter": {"epochs": 20},
            "batchSize": 32,
        },
    )
    assert ran.summary["metrics"]["accuracy"] > 0.85 and ran.summary["restarts"]["worker"] == 1
    told = lines(ran.output, "CLASSES")
    assert len(told) == 4 and len(set(told)) == 1
    monkeypatch.setenv("PYTHONHASHSEED", "99")
    again = subprocess.run(
        [ASGD, "replay", "out"], cwd=tmp_path, env=os.environ, capture_output=True, text=True
    )
    assert again.returncode == 0, again.stdout + again.stderr
    assert told[0] in again.stdout


@pytest.mark.slow
def test_a_split_at_module_level_is_one_split_for_workers_and_evaluator(tmp_path: Path) -> None:
    write(tmp_path, tasks=SPLIT_AT_IMPORT)
    write(tmp_path, opened="import os\nOWN = os.environ.get('ASGD_WORKER_INDEX')\n")
    spec = {
        "entrypoint": "tasks.py:task",
        "workers": {"replicas": 2},
        "stopAfter": {"epochs": 60},
        "optimizer": {"learningRate": 0.2},
        "batchSize": 32,
    }
    forked = run_spec(tmp_path, spec)
    assert 0.35 < forked.summary["metrics"]["accuracy"] < 0.65
    told = lines(forked.output, "SPLIT")
    assert len(told) == 3 and len(set(told)) == 1
    # Each process imports for itself what looks for its index.
    (tmp_path / "tasks.py").write_text("import opened\n" + SPLIT_AT_IMPORT)
    shutil.rmtree(tmp_path / "out")
    alone = run_spec(tmp_path, spec)
    assert "each process imports tasks.py itself" in alone.said and alone.code == 0
    assert set(lines(alone.output, "SPLIT")) == set(told)


@pytest.mark.parametrize(
    ("what", "named"),
    first(
        [
            ("data", "sample 0 differs from what worker"),
            ("frozen", "parameter 0.weight differs from what worker"),
            ("buffer", "buffer mean differs from what worker"),
            ("loss", "the loss of the first 8 samples on cpu differs from what worker"),
        ],
        count=1,
    ),
)
def test_what_differs_by_process_is_refused_by_name(tmp_path: Path, what: str, named: str) -> None:
    write(tmp_path, differs=DIFFERS)
    spec = {"entrypoint": "differs.py:task", "args": {"what": what}, "workers": {"replicas": 2}}
    ran = run_spec(tmp_path, {**spec, "stopAfter": {"updates": 1_000_000}})
    assert ran.code == 2
    last = ran.said.strip().splitlines()[-1]
    assert named in last and "seed what is drawn" in last and "Traceback" not in ran.said


@pytest.mark.slow
def test_data_that_are_random_by_themselves_train_and_are_said_to_be_that(tmp_path: Path) -> None:
    write(tmp_path, chance=RANDOM_BY_ITSELF)
    spec = {"entrypoint": "chance.py:task", "workers": {"replicas": 2}, "stopAfter": {"updates": 1000}}
    assert run_spec(tmp_path, spec).summary["updates"] >= 1000
    logs = [(tmp_path / "out" / "logs" / f"worker-{index}.log").read_text() for index in (0, 1)]
    assert 1 in [log.count("the data are random by themselves: sample 0") for log in logs]


@pytest.mark.slow
def test_scripts_draw_alike_before_they_connect_and_are_refused_where_a_frozen_layer_differs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(tmp_path, train=SCRIPT)
    # NB: so small that two workers' staleness makes nothing diverge.
    slow = {"optimizer": {"learningRate": 0.0001}}
    spec = {"entrypoint": "train.py", "workers": {"replicas": 2}, "stopAfter": {"updates": 40}} | slow
    ran = run_spec(tmp_path, spec)
    assert ran.code == 0
    # Nothing is dealt and no samples= is given: the log says once what a step counts as.
    logs = [log.read_text() for log in (tmp_path / "out" / "logs").glob("worker-*.log")]
    said = [log.count("no data are dealt, so each step counts as") for log in logs]
    assert max(said) == 1
    monkeypatch.setenv("MINE", "yes")
    shutil.rmtree(tmp_path / "out")
    ran = run_spec(tmp_path, {**spec, "stopAfter": {"updates": 1_000_000}})
    assert ran.code == 2 and "parameter 0.weight differs from what worker" in ran.said


@pytest.mark.slow
def test_a_job_that_is_resumed_with_other_data_says_so_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, labels=BY_SET)
    spec = {"entrypoint": "labels.py:task", "stopAfter": {"updates": 20}}
    assert run_spec(tmp_path, spec).code == 0
    (tmp_path / "labels.py").write_text(BY_SET.replace("list(set(names))", "sorted(set(names))"))
    job = write_job(tmp_path, {**spec, "stopAfter": {"updates": 40}})
    ran = run(job, tmp_path, "--set", "checkpoint.restore=Latest")
    assert ran.summary["updates"] == 40
    assert (
        "changed    the job goes on with other data, another model or another loss than before: sample"
        in ran.said
    )


@pytest.mark.slow
def test_own_loops_whose_data_differ_are_refused_by_the_name_of_the_sample(tmp_path: Path) -> None:
    write(tmp_path, train=OWN_LOOP)
    spec = {"entrypoint": "train.py", "args": {"shift": 0}, "workers": {"replicas": 2}}
    ran = run_spec(tmp_path, {**spec, "stopAfter": {"updates": 1_000_000}})
    assert ran.code == 2, ran.said
    last = ran.said.strip().splitlines()[-1]
    assert "sample 0 differs from what worker" in last and "deal=False" in last
    assert "Traceback" not in ran.said


@pytest.mark.slow
def test_an_own_loop_that_is_resumed_with_other_data_says_so_and_goes_on(tmp_path: Path) -> None:
    write(tmp_path, train=OWN_LOOP)
    spec = {"entrypoint": "train.py", "args": {"shift": 1}, "workers": {"replicas": 2}}
    assert run_spec(tmp_path, {**spec, "stopAfter": {"updates": 20}}).code == 0
    job = write_job(tmp_path, {**spec, "args": {"shift": 2}, "stopAfter": {"updates": 40}})
    ran = run(job, tmp_path, "--set", "checkpoint.restore=Latest")
    assert 40 <= ran.summary["updates"] <= 42, "each worker's push that is on its way at the stop counts"
    assert (
        "changed    the job goes on with other data, another model or another loss than before: sample"
        in ran.said
    )


@pytest.mark.slow
def test_a_worker_started_by_hand_has_the_jobs_hash_seed(tmp_path: Path) -> None:
    (tmp_path / "tell.py").write_text("def task():\n    raise ValueError(sorted([hash('asgd')]))\n")
    (tmp_path / "job.json").write_text(
        '{"apiVersion": "asgd.dev/v1alpha1", "kind": "AsgdJob", "metadata": {"name": "a"},'
        ' "spec": {"entrypoint": "tell.py:task"}}'
    )
    environment = {**os.environ, "ASGD_JOB": "job.json", "ASGD_INDEX": "0", "ASGD_SERVERS": "ipc:///tmp/none"}
    said = {
        subprocess.run(
            [ASGD, "worker"],
            cwd=tmp_path,
            env=environment | {"PYTHONHASHSEED": shell},
            capture_output=True,
            text=True,
        ).stderr
        for shell in ("5", "random", "0")
    }
    assert len(said) == 1 and "ValueError" in said.pop(), sys.version
