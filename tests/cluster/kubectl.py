"""kubectl against one cluster: what tests use to apply, read and wait.

The real program rather than a client library, because that is what the user of the product types. Its stderr
is in the error, so that a failed test tells why.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.binaries import find
from tests.cluster.shell import ClusterError, run, succeeds


@dataclass(frozen=True)
class Kubectl:
    """Call it with kubectl's words: `kubectl("get", "pods")` returns stdout, ClusterError if it fails."""

    kubeconfig: Path
    cache: Path | None = None
    """Folder for discovery data: ~/.kube would remember the last cluster at the same address."""

    def __call__(self, *words: str, stdin: str | None = None) -> str:
        return run(*self._command(), *words, stdin=stdin)

    def succeeds(self, *words: str) -> bool:
        """Whether kubectl ends with 0."""
        return succeeds(*self._command(), *words)

    def json(self, *words: str) -> Any:
        """Parsed `kubectl WORDS -o json`."""
        return json.loads(self(*words, "-o", "json"))

    def apply(self, *objects: dict[str, Any], namespace: str = "default") -> str:
        """Server-side apply of `objects`."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        words = ("apply", "--server-side", "--force-conflicts", "-n", namespace, "-f", "-")
        return self(*words, stdin=json.dumps(items))

    def wait(self, what: str, condition: str, *words: str, seconds: int = 60) -> str:
        """`kubectl wait WHAT --for=CONDITION`, also for an object that has no condition at all yet."""
        deadline = time.monotonic() + seconds
        while True:
            try:
                return self("wait", what, f"--for={condition}", f"--timeout={seconds}s", *words)
            except ClusterError as error:
                if "conditions accessor error" not in str(error) or time.monotonic() > deadline:
                    raise
            time.sleep(0.1)

    def _command(self) -> tuple[str | Path, ...]:
        cache = ("--cache-dir", self.cache) if self.cache else ()
        return (find("kubectl"), "--kubeconfig", self.kubeconfig, *cache)
