"""The README's path of a cluster user, each command run as it stands there, on a cluster without anything of ours.

What is put in place of the reader's own: the registry, and Ctrl-C for `--watch`. The images are those that
`tools/build_images.sh` left in the cache, as `make e2e` does before the tests.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator

import pytest

from tests.cluster.access import Cluster
from tests.cluster.layout import cache
from tests.e2e.jobs import ROOT, until
from tests.e2e.release import SYSTEM, load_images

pytest_plugins = ["tests.cluster.fixtures"]
pytestmark = pytest.mark.timeout(900)
WATCH_SECONDS = 5


def commands() -> list[str]:
    """Lines of the README's block that installs the chart, continuation lines joined."""
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    (block,) = (b for b in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if "helm install" in b)
    return re.sub(r"\\\n\s*", "", block).strip().splitlines()


@pytest.fixture
def bare(cluster: Cluster) -> Iterator[Cluster]:
    """The nodes have the images; what the reader installs is gone afterwards."""
    load_images(cluster)
    yield cluster
    for words in (
        "kubectl delete asgdjobs --all",
        f"helm uninstall asgd -n {SYSTEM}",
        f"kubectl delete ns {SYSTEM}",
    ):
        run(words, cluster)


def run(command: str, cluster: Cluster) -> subprocess.CompletedProcess[str]:
    """`command` in a shell at the project's root, as its reader would."""
    environ = os.environ | {
        "KUBECONFIG": str(cluster.kubeconfig),
        "PATH": f"{cache() / 'bin'}:{os.environ['PATH']}",
    }
    return subprocess.run(command, shell=True, cwd=ROOT, env=environ, capture_output=True, text=True)


def workers(logs: str) -> set[str]:
    """Whose lines these are."""
    return set(re.findall(r"pod/(digits-worker-\d)", logs))


def test_each_command_of_the_readme_does_what_it_says(bare: Cluster) -> None:
    first, *rest = commands()
    assert first.startswith("tools/build_images.sh slim trainer")
    said: dict[str, str] = {}
    for line in rest:
        command = line.partition("#")[0].strip().replace("REGISTRY/", "localhost/")
        watches = "--watch" in command
        done = run(f"timeout -s INT {WATCH_SECONDS} {command}" if watches else command, bare)
        assert done.returncode in ({124} if watches else {0}), f"{command}\n{done.stdout}{done.stderr}"
        said[command] = done.stdout
        if command.startswith("kubectl logs"):
            # NB: a job runs with its first worker; on a busy machine others take seconds more to start.
            until(lambda command=command: len(workers(run(command, bare).stdout)) == 4, "all have a log")  # type: ignore[misc]
    table = said["kubectl get asgdjobs --watch"].splitlines()
    assert table[0].split()[:2] == ["NAME", "PHASE"]
    assert table[1].split()[:2] == ["digits", "Running"]
    assert "Succeeded" in said["kubectl get asgdjob digits -o yaml"]
    assert "Completed" in said["kubectl get events --field-selector involvedObject.name=digits"]
