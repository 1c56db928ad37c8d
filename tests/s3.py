"""A real S3 server for tests: Versity's gateway over a folder, behind TLS, its certificate signed by its own authority.

Its buckets are folders below `data`, so that tests see what is stored, and make a bucket by `mkdir`. Its programs are
built by `python3 -m tests.cluster build`.
"""

from __future__ import annotations

import os
import shutil
import socket
import ssl
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.cluster import binaries, pki
from tests.cluster.access import unavailable
from tests.cluster.shell import wait_until

BUCKET = "team"
_START_SECONDS = 60.0


@dataclass(frozen=True)
class S3Server:
    """Listens on `port` of 127.0.0.1."""

    port: int
    folder: Path

    @property
    def data(self) -> Path:
        """Its buckets."""
        return self.folder / "data"

    @property
    def environment(self) -> dict[str, str]:
        """What a user sets to reach it."""
        return {
            "AWS_ENDPOINT_URL": f"https://127.0.0.1:{self.port}",
            "AWS_CA_BUNDLE": str(self.folder / "pki" / "ca.crt"),
            "AWS_ACCESS_KEY_ID": "asgd",
            "AWS_SECRET_ACCESS_KEY": "a-secret-of-the-tests",
            "AWS_DEFAULT_REGION": "us-east-1",
        }


@contextmanager
def s3_server(folder: Path) -> Iterator[S3Server]:
    """One with an empty bucket `team`; ends with the caller. Skips where it is not built."""
    if missing := binaries.missing([program for program in binaries.BESIDE if program.name == "versitygw"]):
        unavailable(f"not built yet: {missing[0].name}; run `python3 -m tests.cluster build`")
    if not shutil.which("openssl"):
        unavailable("openssl is missing")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        server = S3Server(int(probe.getsockname()[1]), folder)
    pki.create(folder / "pki", ["127.0.0.1"])
    (server.data / BUCKET).mkdir(parents=True)
    (folder / "metadata").mkdir()
    process = _start(server)
    try:
        wait_until(
            "the S3 server answers", lambda: _answers(server), _START_SECONDS, lambda: _dead(server, process)
        )
        yield server
    finally:
        process.kill()
        process.wait()


def _start(server: S3Server) -> subprocess.Popen[bytes]:
    keys = server.environment
    place = server.folder
    words = ["--access", keys["AWS_ACCESS_KEY_ID"], "--secret", keys["AWS_SECRET_ACCESS_KEY"], "--quiet"]
    words += ["--port", f"127.0.0.1:{server.port}", "--cert", str(place / "pki/api.crt")]
    words += [
        "--key",
        str(place / "pki/api.key"),
        "posix",
        "--sidecar",
        str(place / "metadata"),
        str(server.data),
    ]
    # NB: it takes its settings from the environment, too.
    own = {
        name: value for name, value in os.environ.items() if not name.startswith(("AWS_", "VGW_", "ROOT_"))
    }
    with (place / "log").open("wb") as log:
        command = ["setpriv", "--pdeathsig", "KILL", "--", str(binaries.find("versitygw")), *words]
        return subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=own)


def _answers(server: S3Server) -> bool:
    context = ssl.create_default_context(cafile=server.environment["AWS_CA_BUNDLE"])
    try:
        with socket.create_connection(("127.0.0.1", server.port), 1) as plain:
            context.wrap_socket(plain, server_hostname="127.0.0.1").close()
    except OSError:
        return False
    return True


def _dead(server: S3Server, process: subprocess.Popen[bytes]) -> list[str]:
    if process.poll() is None:
        return []
    return [
        f"it ended with {process.returncode}: {(server.folder / 'log').read_text(errors='replace')[-600:]}"
    ]
