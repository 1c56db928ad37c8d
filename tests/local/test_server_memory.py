"""What a parameter server takes: measured from outside on a real process, held against the README's formula."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

from asgd.spec import job_to_json, load_job
from asgd.spec.types import Job
from asgd.worker.sending.centre import open_centre
from asgd.worker.sending.headers import PeerIdentity, PushHeader
from tests.effort import first

MIB = 1 << 20
PARAMETERS = 8_000_000
WORKERS = 3

JOB = """
apiVersion: asgd.dev/v1alpha1
kind: AsgdJob
metadata: {name: memory}
spec:
  entrypoint: none:needed
  stopAfter: {updates: 1000000}
  checkpoint: {everySeconds: 1}
"""


@contextmanager
def server(folder: Path, job: Job) -> Iterator[tuple[str, int]]:
    """A real `asgd server`; gives its endpoint and pid."""
    endpoint = f"ipc://{folder}/s"
    (folder / "job.json").write_bytes(job_to_json(job))
    env = {
        **os.environ,
        "ASGD_JOB": str(folder / "job.json"),
        "ASGD_SERVERS": endpoint,
        "ASGD_BIND": endpoint,
        "ASGD_INDEX": "0",
        "ASGD_CHECKPOINT": str(folder / "checkpoints"),
        "ASGD_METRICS": "127.0.0.1:0",
    }
    process = subprocess.Popen([sys.executable, "-m", "asgd.cli", "server"], env=env)
    try:
        yield endpoint, process.pid
    finally:
        process.kill()
        process.wait()


def peak_mib(pid: int) -> float:
    """The most memory the process ever held."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) / 1024
    raise AssertionError("the kernel tells no VmHWM")


def exchange_until(saved: Callable[[], bool], endpoint: str, job: Job) -> None:
    """`WORKERS` workers push and pull whole vectors as fast as they can, for 4 s at least, and until it has saved."""
    tensors = b'[["w", [%d]]]' % PARAMETERS
    initial = np.zeros(PARAMETERS, np.float32)

    def work(index: int) -> None:
        who = PeerIdentity(
            job=job.name,
            role="worker",
            index=index,
            incarnation=time.time_ns(),
            size=PARAMETERS,
            layout="x",
            dataset=1 << 30,
            tensors=tensors,
        )
        # Shared memory is the workers' own, but the kernel would count it to whoever has touched it.
        centre = open_centre([endpoint], None, who, job.spec.codec, lane="tcp")
        centre.join(lambda: initial)
        gradient, pulled = np.full(PARAMETERS, 1e-3, np.float32), np.empty(PARAMETERS, np.float32)
        began = time.monotonic()
        while (seconds := time.monotonic() - began) < 4 or (not saved() and seconds < 60):
            sequence = centre.channels[0].acknowledged + 1
            centre.exchange(gradient, pulled, PushHeader(sequence=sequence, samples=32, steps=1, loss=1.0))
        centre.leave()

    threads = [threading.Thread(target=work, args=(index,)) for index in range(WORKERS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize(("optimizer", "arrays"), first([("sgd", 0), ("adagrad", 1), ("adam", 2)]))
def test_a_server_takes_what_the_readme_says_while_workers_push_and_checkpoints_are_written(
    tmp_path: Path, optimizer: str, arrays: int
) -> None:
    (tmp_path / "job.yaml").write_text(JOB)
    job = load_job(tmp_path / "job.yaml", [f"optimizer.name={optimizer}", "parameterServer.shards=1"])
    with server(tmp_path, job) as (endpoint, pid):
        exchange_until(lambda: any((tmp_path / "checkpoints").glob("*/manifest.json")), endpoint, job)
        peak = peak_mib(pid)
    assert any((tmp_path / "checkpoints").glob("*/manifest.json")), "no checkpoint was written meanwhile"
    model = PARAMETERS * 4 / MIB
    # NB: once for what is served, once for the copy that is written.
    assert 2 * model * (1 + arrays) < peak < 70 + 2 * model * (1 + arrays) + WORKERS * 8
