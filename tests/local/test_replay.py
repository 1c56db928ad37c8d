"""`asgd replay` of real runs on real processes: whatever happened in them, the same bits come out again."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests import warm
from tests.local.run import HERE, Run
from tests.local.test_worker_faults import guest


def noisy(
    folder: Path, *options: str, shards: int = 2, workers: int = 4, epochs: float = 12, size: int = 600,
    pace: float | None = None, **more: Any,
) -> Run:  # fmt: skip
    """A run of `tasks:noisy`; with `pace` a step takes so many seconds until `go` is called."""
    args: dict[str, Any] = {"size": size} | more.pop("args", {})
    if pace is not None:
        (folder / "pace").write_text(str(pace), encoding="utf-8")
        args["pace"] = str(folder / "pace")
    spec = {
        "entrypoint": "tasks:noisy",
        "args": args,
        "parameterServer": {"shards": shards},
        "workers": {"replicas": workers},
        "optimizer": {"learningRate": 0.02},
        "batchSize": 8,
        "stopAfter": {"epochs": epochs},
    }
    return Run(folder, spec | more, *options)


def go(run: Run) -> None:
    """The run goes on as fast as it can, to its end."""
    (run.folder / "pace").write_text("0", encoding="utf-8")
    assert run.wait() == 0, run.words()


def replay(run: Run, *options: str, **env: str) -> subprocess.CompletedProcess[str]:
    return warm.run(["replay", str(run.output), *options], cwd=HERE, env=os.environ | env)


def assert_equal(run: Run) -> dict[str, Any]:
    """The replay ends with the very weights of model.safetensors."""
    summary = run.summary()
    assert summary.replayable, summary.not_replayable
    file = run.folder / "again.safetensors"
    done = replay(run, "--json", "--dump", str(file))
    assert done.returncode == 0, done.stdout + done.stderr
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["equal"] is True
    assert told["weightsSha256"] == summary.weights_sha256
    again, model = load_file(file), run.model()
    assert again.keys() == {name for name in model if "running" not in name and "num_batches" not in name}
    assert all(np.array_equal(array, model[name]) for name, array in again.items())
    return told


@pytest.mark.slow
def test_with_a_killed_worker_killed_shards_and_a_worker_that_joined(tmp_path: Path) -> None:
    with noisy(tmp_path, epochs=25, pace=0.02, checkpoint={"everySeconds": 0.5}) as run:
        run.until_updates(60)
        run.signal("worker-1", signal.SIGKILL)
        visitor = guest(run)
        run.until("there are checkpoints", lambda: len(run.manifests()) >= 2)
        for shard in (1, 0):
            run.signal(f"server-{shard}", signal.SIGKILL)
            run.until(f"shard {shard} is back", lambda s=shard: (t := run.status()) and t.terms[s] == 2)  # type: ignore[misc]
            at = run.until_updates(1).updates
            run.until_updates(at + 60)
        run.until("the guest has trained", lambda: _samples(run, 4) > 0)
        go(run)
        visitor.wait(30)
        assert run.summary().workers_seen == 5
        logs = {path.name.rpartition("-")[0] for path in (run.output / "replay").glob("*.log")}
        assert {"worker-1", "worker-4"} < logs
        assert all((run.output / "replay" / f"shard-{shard}-2.log").exists() for shard in (0, 1))
        assert_equal(run)


STRATEGIES: list[tuple[int, dict[str, Any]]] = [
    (1, {"algorithm": {"name": "safeguard", "shortWindow": 4, "longWindow": 12}}),
    (2, {"algorithm": {"name": "async-diloco", "period": 5}}),
    (3, {"algorithm": {"name": "ssp", "bound": 1}, "exchange": {"lane": "zmq"}}),
    (1, {"algorithm": {"name": "easgd", "period": 3}, "exchange": {"ahead": 1}}),
    (
        3,
        {
            "algorithm": {"name": "sync"},
            "optimizer": {"learningRate": 0.02, "momentum": 0.9},
            "exchange": {"lane": "tcp"},
        },
    ),
    (2, {"algorithm": {"name": "dc-asgd"}, "codec": {"push": "topk", "pull": "int8"}}),
]


@pytest.mark.slow
@pytest.mark.parametrize(("shards", "more"), STRATEGIES, ids=[s[1]["algorithm"]["name"] for s in STRATEGIES])
def test_whatever_the_strategy_and_the_number_of_shards(
    tmp_path: Path, shards: int, more: dict[str, Any]
) -> None:
    with noisy(tmp_path, shards=shards, workers=3, epochs=4, pace=0.3, **more) as run:
        run.until("all have pushed", lambda: all(_samples(run, index) for index in range(3)))
        run.signal("worker-2", signal.SIGKILL)
        run.until("worker 2 is back", lambda: (told := run.status()) and told.restarts["worker"] == 1)
        go(run)
        assert_equal(run)


@pytest.mark.slow
@pytest.mark.parametrize("ahead", [0, 1])
def test_chunks_of_a_large_model_that_arrive_among_each_other(tmp_path: Path, ahead: int) -> None:
    """Shards of three chunks, and the exchange beside backward or the next step: a pull sees each at another moment."""
    args = {"width": 65_000}
    with noisy(tmp_path, epochs=1, args=args, size=400, exchange={"ahead": ahead}) as run:
        assert run.wait() == 0, run.words()
        assert_equal(run)


@pytest.mark.slow
def test_gradients_that_turned_nan_while_the_push_was_on_its_way(tmp_path: Path) -> None:
    more = {"entrypoint": "tasks:rooted", "args": {"width": 65_000}}
    with noisy(tmp_path, workers=2, epochs=1, size=400, **more) as run:
        assert run.wait() == 0, run.words()
        summary = run.summary()
        assert summary.refused["nonfinite"] >= 1
        # The first such push of a worker is accepted, and the rest of it is not; later ones are dropped whole.
        assert 0 < summary.updates < 50 and summary.epochs == 1
        assert_equal(run)


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run that is over."""
    with noisy(tmp_path_factory.mktemp("small"), workers=2, epochs=2) as run:
        assert run.wait() == 0, run.words()
    return run


def test_it_ends_after_any_update_and_writes_the_weights_of_that_moment(small: Run, tmp_path: Path) -> None:
    def weights(update: int) -> tuple[dict[str, Any], str]:
        file = tmp_path / f"{update}.safetensors"
        done = replay(small, "--until", str(update), "--dump", str(file), "--json")
        assert done.returncode == 0, done.stderr
        told = json.loads(done.stdout)
        assert (told["updates"], told["equal"]) == (update, None)
        assert all(version >= update for version in told["versions"])
        return load_file(file), told["weightsSha256"]

    total = small.summary().updates
    (early, one), (again, two), (last, end) = weights(40), weights(40), weights(total)
    assert one == two
    assert all(np.array_equal(early[name], again[name]) for name in early)
    assert not all(np.array_equal(early[name], last[name]) for name in early)
    assert end == small.summary().weights_sha256
    beyond = replay(small, "--until", str(total + 1))
    assert beyond.returncode == 2
    assert beyond.stderr == f"asgd: --until: {total + 1} is beyond the run's {total} updates\n"


def test_logs_that_were_changed_are_refused_in_one_sentence(small: Run, tmp_path: Path) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(small.output, changed)
    log = changed / "replay" / "shard-0-1.log"
    log.write_bytes(log.read_bytes()[:-30] + bytes(30))
    done = warm.run(["replay", str(changed)], cwd=HERE)
    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert f"{log} is not as the run left it" in done.stderr


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        (
            "size: 600",
            "size: 600\n    chance: true",
            r"update 1 of shard \d: push 1 of worker \d is not the one",
        ),
        (
            "seed: 0",
            "seed: 1",
            r"the initial weights that worker \d brought to shard \d are not those recorded",
        ),
    ],
)
def test_what_does_not_compute_the_same_is_found_where_it_first_differs(
    small: Run, tmp_path: Path, old: str, new: str, said: str
) -> None:
    changed = tmp_path / "changed"
    shutil.copytree(small.output, changed)
    job = (changed / "job.yaml").read_text(encoding="utf-8")
    assert job.count(old) == 1
    (changed / "job.yaml").write_text(job.replace(old, new), encoding="utf-8")
    done = warm.run(["replay", str(changed)], cwd=HERE)
    assert done.returncode == 1, done.stderr
    assert re.match("different  " + said, done.stdout)


@pytest.mark.slow
def test_runs_that_cannot_be_replayed_say_why(tmp_path: Path) -> None:
    spec = {"entrypoint": "tasks:stream", "workers": {"replicas": 1}, "stopAfter": {"updates": 5}}
    with Run(tmp_path, spec) as run:
        assert run.wait() == 0, run.words()
    summary = run.summary()
    assert (summary.replayable, "stream" in summary.not_replayable) == (False, True)
    assert not list((run.output / "replay").glob("*.log"))
    done = replay(run)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert summary.not_replayable in done.stderr
    nothing = warm.run(["replay", str(tmp_path / "none")])
    assert (nothing.returncode, len(nothing.stderr.splitlines())) == (2, 1)


def _samples(run: Run, index: int) -> int:
    status = run.status()
    return sum(w.samples for w in status.workers if w.index == index) if status else 0
