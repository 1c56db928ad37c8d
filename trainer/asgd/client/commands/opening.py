"""`open`: a job's live page, through a port-forward to the pod that serves it."""

from __future__ import annotations

import base64
import binascii
import time
import webbrowser
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from urllib.parse import quote

from asgd.client.access import Access
from asgd.client.commands.base import Arguments, Commands, add, add_job, count, refuse
from asgd.client.documents import Document, ended, in_order, index_of, name_of, part
from asgd.client.errors import ApiError, NotFound, Unreachable
from asgd.client.forwarding import Forward

PORT = "page"
"""Name of the container port that serves the page."""
TOKEN = "page.token"
"""Key of the job's Secret: what the page asks for."""
_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Served:
    """Where a page is."""

    pod: str
    port: int
    secret: str
    """Name of the Secret with its token; empty where it asks for none."""


def add_commands(commands: Commands) -> None:
    opens = add(commands, "open", _open, "open a job's live page in the browser; Ctrl-C ends it")
    add_job(opens)
    opens.add_argument(
        "--port", type=count, default=0, metavar="N", help="of this machine (default: a free one)"
    )
    opens.add_argument(
        "--address", default="127.0.0.1", metavar="HOST", help="of this machine (default: 127.0.0.1)"
    )
    opens.add_argument("--no-browser", action="store_true", help="only print the address")


def served(pods: Sequence[Document]) -> Served | None:
    """Who serves the page; None where nobody does now. Pure.

    All servers have the container, and only the one beside shard 0 serves.
    """
    for pod in in_order(pods):
        for container in part(pod, "spec", "containers") or ():
            for port in container.get("ports") or ():
                if port.get("name") == PORT and index_of(pod) == 0 and _runs(pod, container["name"]):
                    return Served(name_of(pod), int(port["containerPort"]), _secret(pod))
    return None


def _runs(pod: Document, container: str) -> bool:
    states = part(pod, "status", "containerStatuses") or ()
    return any(state["name"] == container and part(state, "state", "running") is not None for state in states)


def _secret(pod: Document) -> str:
    for volume in part(pod, "spec", "volumes") or ():
        for source in part(volume, "projected", "sources") or ():
            items = part(source, "secret", "items") or ()
            if any(item.get("key") == TOKEN for item in items):
                return str(part(source, "secret", "name"))
    return ""


def token_in(secret: Document) -> str:
    """What the page asks for; empty where the Secret has none. Pure."""
    with suppress(binascii.Error, UnicodeDecodeError):
        return base64.b64decode(part(secret, "data", TOKEN) or "").decode().strip()
    return ""


def _open(access: Access, arguments: Arguments) -> int:
    job = access.job(arguments.name)
    found = served(access.pods(arguments.name))
    if found is None:
        phase = ended(job) or part(job, "status", "phase") or "not seen by an operator yet"
        raise refuse(
            f"{arguments.name} serves no page now: it is {phase}, and no container of its shard 0 serves a port named"
            f" {PORT}; kubectl asgd status {arguments.name} and kubectl asgd top {arguments.name} show its figures"
        )
    token = token_in(access.get("Secret", found.secret)) if found.secret else ""
    with Forward(access, found.pod, found.port, arguments.address, arguments.port) as forward:
        address = f"http://{forward.host}:{forward.port}/" + (f"?token={quote(token)}" if token else "")
        print(f"{address}  (pod {found.pod}; Ctrl-C ends it)", flush=True)
        if not arguments.no_browser:
            webbrowser.open(address)
        while not _over(access, arguments.name):
            time.sleep(_LOOK_SECONDS)
    print(f"{arguments.name} has ended, and its page with it")
    return 0


def _over(access: Access, name: str) -> bool:
    """NB: a cluster that does not answer for a moment ends no page."""
    try:
        return bool(ended(access.job(name)))
    except NotFound:
        return True
    except (ApiError, Unreachable):
        return False
