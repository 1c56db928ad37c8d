"""The page on strategies of one's own, followed to the letter: a package that is installed, a job that names it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from asgd.algorithms.registry import strategy
from asgd.errors import UserError
from tests.users.pages import write_files

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "own-strategy.md"


def install(
    folder: Path, *, package: str = "acme-strategies", points: str = "fading = fading:STRATEGY"
) -> Path:
    """What pip leaves in site-packages: the module, and the distribution's metadata with its entry points."""
    write_files(PAGE, folder)
    info = folder / f"{package.replace('-', '_')}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[asgd.algorithms]\n{points}\n")
    return folder


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


@pytest.mark.parametrize("name", ["acme-strategies/fading", "Acme_Strategies/fading"])
def test_a_package_adds_a_strategy_by_an_entry_point(site: Path, name: str) -> None:
    install(site)
    assert strategy(name).name == "fading"


def test_what_is_not_installed_is_refused_with_what_is(site: Path) -> None:
    install(site)
    with pytest.raises(UserError) as refusal:
        strategy("acme-strategies/other")
    text = str(refusal.value)
    assert text.startswith(
        "spec.algorithm.name: 'acme-strategies/other' is not installed here; allowed: asgd, "
    )
    assert text.endswith(", acme-strategies/fading")
    with pytest.raises(UserError, match="'fading' is not installed here"):
        strategy("fading")


def test_an_entry_point_that_is_broken_or_no_strategy_is_told_in_one_sentence(site: Path) -> None:
    install(site, points="gone = nowhere:STRATEGY\nwrong = fading:FadingServer")
    with pytest.raises(
        UserError, match=r"acme-strategies/gone: loading nowhere:STRATEGY failed: ModuleNotFound"
    ):
        strategy("acme-strategies/gone")
    with pytest.raises(UserError, match=r"fading:FadingServer is ABCMeta, not asgd.algorithms.base.Strategy"):
        strategy("acme-strategies/wrong")


def asgd(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "asgd.cli", *arguments]
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])
    }
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=110)


@pytest.mark.slow
def test_the_job_of_the_page_trains_by_asgd_run(tmp_path: Path) -> None:
    install(tmp_path)
    assert "must be installed wherever the job runs" in asgd(tmp_path, "validate", "job.yaml").stderr
    done = asgd(tmp_path, "run", "job.yaml", "--quiet", "--output", "out", "--set", "workers.replicas=2")
    assert done.returncode == 0, done.stderr
    told = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert told["algorithm"] == "acme-strategies/fading" and told["metrics"]["accuracy"] > 0.8


def test_asgd_run_refuses_what_is_not_installed_before_anything_starts(tmp_path: Path) -> None:
    write_files(PAGE, tmp_path)
    done = asgd(tmp_path, "run", "job.yaml", "--quiet", "--output", "out")
    assert done.returncode == 2
    assert (
        "spec.algorithm.name: 'acme-strategies/fading' is not installed here; allowed: asgd, " in done.stderr
    )
    assert "Traceback" not in done.stderr
