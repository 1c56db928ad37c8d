"""The commands of docs/operate.md, typed as they stand there, against a real API server: one story from the install on.

No pod runs there, so what waits for one is left out.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.chart.helm import CHART
from tests.chart.servers import api_server
from tests.cluster.binaries import find
from tests.cluster.kubectl import Kubectl

ROOT = CHART.parents[1]
GUIDE = (ROOT / "docs" / "operate.md").read_text(encoding="utf-8")
NEEDS_PODS = ("rollout status", "helm test", "kubectl logs", "get --raw", " logs deployment")
ELSEWHERE = ("asgd check",)


class Shell:
    """Types commands as a reader would, with the cluster's programs first on the path."""

    def __init__(self, kubectl: Kubectl, folder: Path) -> None:
        self.folder = folder
        programs = {find("helm").parent, find("kubectl").parent}
        path = os.pathsep.join([*map(str, programs), os.environ["PATH"]])
        home = {"HOME": str(folder), "HELM_CACHE_HOME": str(folder / "helm")}
        self.environment = {**os.environ, **home, "KUBECONFIG": str(kubectl.kubeconfig), "PATH": path}
        for name in ("charts", "crds"):
            (folder / name).symlink_to(ROOT / name)

    def __call__(self, command: str) -> str:
        done = subprocess.run(
            ["bash", "-euo", "pipefail", "-c", command], cwd=self.folder, env=self.environment,
            capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout

    def section(self, title: str, only: str = "") -> None:
        """Every command of a section that holds `only`."""
        for command in commands(title):
            if only in command and not any(word in command for word in (*NEEDS_PODS, *ELSEWHERE)):
                self(re.sub(r" --wait( |$)", r" \1", command))


def commands(title: str) -> list[str]:
    text = re.split(rf"\n##+ {re.escape(title)}\n", GUIDE)[1]
    text = re.split(r"\n##+ ", text)[0]
    blocks = "\n".join(re.findall(r"```sh\n(.*?)```", text, re.S)).replace("\\\n", " ")
    return [line for line in blocks.splitlines() if line.strip()]


@pytest.fixture
def shell(tmp_path: Path) -> Iterator[Shell]:
    folder = tmp_path / "reader"
    folder.mkdir()
    with api_server(tmp_path) as kubectl:
        yield Shell(kubectl, folder)


def test_the_commands_of_the_guide_work_one_after_another(shell: Shell) -> None:
    shell.section("By Helm")
    shell("kubectl wait --for=create crd/asgdjobs.asgd.dev && sleep 1")
    shell.section("Upgrade")
    job = "kind: AsgdJob\\napiVersion: asgd.dev/v1alpha1\\nmetadata: {name: digits}\\nspec: {entrypoint: m:f}\\n"
    shell(f"printf '{job}' | kubectl apply -f -")
    shell.section("Backup of a job")
    shell("kubectl delete asgdjob digits && kubectl apply -f digits.yaml")
    (shell.folder / "src").mkdir()
    (shell.folder / "src" / "train.py").write_text("x = 1\n")
    shell.section("Big jobs")

    remove_all = commands("Uninstall")
    shell(remove_all[0].replace("--wait", ""))
    assert "digits" in shell("kubectl get asgdjobs"), "the job stays"
    install, annotate = (line for line in remove_all if "training" in line)
    shell(annotate)
    shell(install.replace("--take-ownership", ""))
    shell("helm uninstall training -n platform")
    shell(
        "helm install other charts/asgd-operator -n platform --take-ownership && helm uninstall other -n platform"
    )
    shell(remove_all[1])
    shell(remove_all[3])

    shell("kubectl create namespace red-jobs && kubectl create namespace blue-jobs")
    shell.section("Several releases")
    shell("helm uninstall asgd -n red-system && helm uninstall asgd -n blue-system")
    shell("kubectl delete crd asgdjobs.asgd.dev && kubectl delete namespace asgd-system --wait")
    shell.section("By plain manifests")
    assert "asgd-asgd-operator" in shell("kubectl -n asgd-system get deployments -o name")
