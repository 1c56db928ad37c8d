"""What a disk or a second command does to a run's files, by real processes: noticed, said, and the run goes on."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.local.run import Counting
from tests.local.test_odd_places import EXAMPLE, asgd
from tests.unit.server.test_whole_saves import flip


def digits(output: Path, *sets: str) -> subprocess.CompletedProcess[str]:
    words = [word for one in sets for word in ("--set", one)]
    return asgd("run", str(EXAMPLE), "--quiet", "--output", str(output), *words)


@pytest.mark.slow
def test_a_run_goes_on_from_the_newest_whole_checkpoint_and_says_what_it_skipped(tmp_path: Path) -> None:
    output = tmp_path / "out"
    done = digits(output, "stopAfter.epochs=12", "checkpoint.everySeconds=0.3")
    assert done.returncode == 0, done.stderr
    saves = sorted((output / "checkpoints").glob("0*"))
    assert len(saves) == 3
    flip(saves[-1] / "shard-0-of-2.safetensors", -2000)
    checked = asgd("check", str(output))
    assert checked.returncode == 2
    assert f"{saves[-1].name}             damaged" in checked.stdout
    assert "shard-0-of-2.safetensors cannot be read: the checksum of weights" in checked.stdout
    assert "1 of 5 are damaged" in checked.stdout
    done = digits(output, "stopAfter.epochs=13", "checkpoint.restore=Latest")
    assert done.returncode == 0, done.stderr
    line = f"warning: checkpoint {saves[-1].name} is not whole and is skipped for {saves[-2].name}"
    assert line in done.stderr + done.stdout
    for shard in (0, 1):
        log = (output / "logs" / f"server-{shard}.log").read_text()
        assert f"checkpoint {saves[-1].name} is not whole" in log
    assert asgd("check", str(output / "checkpoints" / "..")).returncode in (0, 2)


@pytest.mark.slow
def test_a_second_run_in_the_folder_of_one_that_goes_on_is_refused_and_the_first_is_unharmed(
    tmp_path: Path,
) -> None:
    with Counting(tmp_path, workers=1, checkpoint={"everySeconds": 0.3}) as run:
        run.until("there is a checkpoint", run.manifests)
        for more in ((), ("checkpoint.restore=Latest",)):
            second = digits(run.output, *more)
            assert second.returncode == 2
            assert second.stderr.startswith(f"asgd: --output: {run.output}: a run is going on there")
            assert run.process is not None and f"process {run.process.pid})" in second.stderr
        other = digits(tmp_path / "other", f"checkpoint.uri={run.output / 'checkpoints'}")
        assert other.returncode == 2 and "spec.checkpoint.uri" in other.stderr
        assert run.process.poll() is None
        assert run.interrupt() == 130
        assert "server-0 ended" not in run.log("server-0")
        run.start("--set", "checkpoint.restore=Latest", "--set", "stopAfter.epochs=0.001")
        assert run.finish() == 0, "the folder is free again"
