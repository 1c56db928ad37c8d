"""What a kubelet gives a container of its account, around a process of this machine: a folder, and two variables.

The folder is mounted where every client looks for it, in a mount namespace of the process's own.
"""

from __future__ import annotations

import base64
import os
import socket
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from textwrap import dedent
from urllib.parse import urlsplit

import nbformat
import yaml

from tests.cluster.access import unavailable
from tests.cluster.kubectl import Kubectl

PLACE = "/var/run/secrets/kubernetes.io/serviceaccount"
_MOUNT = f"""
set -e
mount -t tmpfs none "$(readlink -f /var/run)"
mkdir -p {PLACE}
mount --bind "$1" {PLACE}
shift
exec "$@"
"""
_EXECUTE = """
import sys, nbformat, nbclient
notebook = nbformat.read(sys.argv[1], as_version=4)
try:
    nbclient.NotebookClient(notebook, timeout=120, kernel_name="python3").execute()
finally:
    nbformat.write(notebook, sys.argv[1])
"""


@dataclass(frozen=True)
class Account:
    """A service account, with a token of the API server's own."""

    kubectl: Kubectl
    namespace: str
    name: str
    folder: Path

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Runs `command` as in a pod of this account. Skips where no mount namespace can be had."""
        if os.getuid() != 0:
            unavailable("a mount namespace needs root")
        config = yaml.safe_load(self.kubectl.kubeconfig.read_text(encoding="utf-8"))
        cluster = config["clusters"][0]["cluster"]
        secrets, home = self.folder / "account", self.folder / "home"
        secrets.mkdir(parents=True, exist_ok=True)
        home.mkdir(exist_ok=True)
        words = ("-n", self.namespace, "create", "token", self.name, "--duration=1h")
        (secrets / "token").write_text(self.kubectl(*words).strip())
        (secrets / "ca.crt").write_bytes(base64.b64decode(cluster["certificate-authority-data"]))
        (secrets / "namespace").write_text(self.namespace)
        server = urlsplit(cluster["server"])
        environ = {name: value for name, value in os.environ.items() if name != "KUBECONFIG"}
        environ |= {"HOME": str(home), "KUBERNETES_SERVICE_HOST": str(server.hostname)}
        environ |= {"KUBERNETES_SERVICE_PORT": str(server.port)}
        shell = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _MOUNT, "sh")
        return subprocess.run(
            [*shell, str(secrets), *command],
            env=environ,
            cwd=home,
            text=True,
            capture_output=True,
            timeout=150,
        )

    def execute(self, *cells: str) -> list[list[nbformat.NotebookNode]]:
        """The outputs of each cell of a notebook, run by a kernel in such a pod; a cell that raises fails the test."""
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(dedent(cell)) for cell in cells])
        file = self.folder / "notebook.ipynb"
        self.folder.mkdir(parents=True, exist_ok=True)
        nbformat.write(notebook, file)
        done = self.run(sys.executable, "-c", _EXECUTE, str(file))
        assert done.returncode == 0, done.stderr
        return [cell.outputs for cell in nbformat.read(file, as_version=4).cells]


def own_address() -> str:
    """An address of this machine that is none of its loopback's: API servers are no proxy to that."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing
        except OSError:
            unavailable("this machine has no address but its loopback's")
        return str(probe.getsockname()[0])
