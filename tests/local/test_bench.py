"""`asgd bench` on real processes at tiny size: peers prove that they apply every update, and pages come out whole.

No time is asserted anywhere: what is measured here means nothing.
"""

from __future__ import annotations

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest

from asgd_bench import environments, processes
from asgd_bench.environments import python_for
from asgd_bench.system import Failed, System
from asgd_bench.systems import BF16, Maker, our, peer
from tests.effort import first

PARAMETERS, WORKERS = 3_003, 2
"""Not divisible by the number of tensors, nor by the elements of a chunk."""
BF16_JOB = ("--set=codec.push=bf16", "--set=codec.pull=bf16")

SYSTEMS: dict[str, Maker] = {
    "ours": our("tcp"),
    "ours, ZeroMQ": our("zmq", "--endpoint=ipc"),
    "ours, two shards": our("tcp", "--endpoint=ipc", shards=2),
    "ours, shared memory": our("shm", "--endpoint=ipc", shards=2),
    "ours, read in place": our("shm", "--endpoint=ipc", "--set=exchange.readInPlace=true"),
    "ours, encrypted": our("tcp", "--encryption=Sealed"),
    "ours, bf16": our("tcp", *BF16_JOB, tolerance=BF16),
    "torch RPC": peer("torch", "torch_rpc"),
    "torch RPC, TCP": peer("torch", "torch_rpc", "--transport=tcp"),
    "torchft pattern": peer("torch", "torchft_pairs"),
    "gloo all-reduce": peer("torch", "gloo_allreduce"),
    "pyzmq": peer("zmq", "plain_zmq"),
    "TCP": peer("numpy", "bare_sockets"),
    "unix": peer("numpy", "bare_sockets", "--family=unix"),
    "shared memory": peer("numpy", "shared_memory"),
    "shared memory, copied": peer("numpy", "shared_memory", "--copy=yes"),
}


@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", first(SYSTEMS))
def test_every_update_that_a_contender_counts_is_really_applied(name: str) -> None:
    system = SYSTEMS[name](name, PARAMETERS, WORKERS)
    assert system.exact
    try:
        system.start()
        for _ in range(2):
            sample = system.measure(0.1)
            assert sample.value > 0
            assert sample.memory_mib and sample.memory_mib > 0
    finally:
        system.stop()


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_hogwild_may_lose_updates_but_never_makes_up_any() -> None:
    system = peer("torch", "hogwild", exact=False)("hogwild", PARAMETERS, WORKERS)
    try:
        system.start()
        assert system.measure(0.1).value > 0
    finally:
        system.stop()


def liar(folder: Path, answer: str) -> System:
    """A system that says it is ready and then answers whatever it likes."""
    code = folder / "liar.py"
    said = 'import os, sys\nout = os.fdopen(int(os.environ["BENCH_ANSWERS"]), "w", 1)\n'
    said += "print('{\"ready\": true}', file=out)\n"
    code.write_text(said + f"for line in sys.stdin:\n    {answer}\n", encoding="utf-8")
    return System("liar", [sys.executable, str(code)])


def test_a_contender_that_drops_updates_is_out(tmp_path: Path) -> None:
    answer = 'print(\'{"updates": [5, 5], "seconds": 1, "probe": [10, 9, 10]}\', file=out)'
    system = liar(tmp_path, answer)
    system.start()
    with pytest.raises(Failed, match=r"applied \[10, 9, 10\] of 10 updates"):
        system.measure(0.0)
    system.stop()


def test_a_contender_that_spins_while_it_waits_takes_no_time_from_the_others(tmp_path: Path) -> None:
    answer = 'print(\'{"updates": [5], "seconds": 1, "probe": [5]}\', file=out)'
    system = liar(tmp_path, answer)
    code = tmp_path / "liar.py"
    spin = "import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()\n"
    code.write_text(spin + code.read_text(encoding="utf-8"), encoding="utf-8")
    system.start()
    system.freeze()
    pid = system._process.pid if system._process else 0
    before = processes.cpu_seconds(pid)
    time.sleep(0.3)
    assert processes.cpu_seconds(pid) == before
    system.thaw()
    assert system.measure(0.0).value == 5
    system.freeze()
    system.stop()
    assert processes.cpu_seconds(pid) == 0


def test_a_contender_that_dies_is_told_of_with_its_last_words(tmp_path: Path) -> None:
    system = liar(tmp_path, 'sys.exit("no memory left")')
    system.start()
    with pytest.raises(Failed, match="ended by itself: no memory left"):
        system.measure(0.0)
    system.stop()


def test_a_peer_that_cannot_be_installed_is_one_sentence_and_is_remembered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ASGD_BENCH_CACHE", str(tmp_path))
    monkeypatch.setitem(environments.PACKAGES, "nothing", ("", ["./no-such-folder"]))
    with pytest.raises(Failed, match=r"could not be installed|uv is not installed") as first:
        python_for("nothing")
    assert len(str(first.value).splitlines()) == 1
    if "uv is not" not in str(first.value):
        with pytest.raises(Failed, match="remembered"):
            python_for("nothing")


def bench(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asgd.cli", "bench", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=280)


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_a_case_from_the_command_line_to_json_and_a_page(tmp_path: Path) -> None:
    results, target = tmp_path / "r.json", tmp_path / "page.md"
    done = bench(
        "small-messages",
        "--quick",
        "--tiny",
        "--rounds",
        "2",
        "--json",
        str(results),
        "--output",
        str(target),
    )
    assert done.returncode == 0, done.stderr
    assert "ratio" in done.stdout
    assert "took" in done.stdout
    page = json.loads(results.read_text(encoding="utf-8"))
    case, goals = page["cases"]
    assert (case["name"], goals["name"]) == ("small-messages", "goals")
    lines = {line["name"]: line for line in case["tables"][0]["lines"]}
    assert {"ours", "plain pyzmq", "bare TCP sockets (limit)"} <= set(lines)
    assert all(len(line["samples"]) == 2 and all(line["samples"]) for line in lines.values()), lines
    assert "| ratio |" in target.read_text(encoding="utf-8")


def test_an_unknown_case_is_one_sentence_and_exit_code_2() -> None:
    done = bench("no-such-case")
    assert done.returncode == 2
    assert done.stderr.startswith(
        "asgd: asgd bench: no case is called 'no-such-case'; allowed are update-path,"
    )
    assert len(done.stderr.splitlines()) == 1


def test_a_file_in_a_folder_that_is_missing_is_said_before_anything_runs(tmp_path: Path) -> None:
    done = bench("small-messages", "--json", str(tmp_path / "missing" / "r.json"))
    assert done.returncode == 2
    assert "its folder must exist" in done.stderr
