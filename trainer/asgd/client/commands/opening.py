"""`open`: a job's live page, through a port-forward to the pod that serves it."""

from __future__ import annotations

import time
import webbrowser
from collections.abc import Sequence

from asgd.client.access import Access
from asgd.client.commands.base import Arguments, Commands, add, add_job, count, refuse
from asgd.client.documents import Document, ended, in_order, name_of, part, state_of
from asgd.client.forwarding import Forward

PORT = "page"
"""Name of the container port that serves the page."""
_LOOK_SECONDS = 5.0


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


def served(pods: Sequence[Document]) -> tuple[str, int] | None:
    """(pod, port) that serve the page; None where no running pod does. Pure."""
    for pod in in_order(pods):
        for container in part(pod, "spec", "containers") or ():
            for port in container.get("ports") or ():
                if port.get("name") == PORT and state_of(pod) == "Running":
                    return name_of(pod), int(port["containerPort"])
    return None


def _open(access: Access, arguments: Arguments) -> int:
    job = access.job(arguments.name)
    found = served(access.pods(arguments.name))
    if found is None:
        phase = ended(job) or part(job, "status", "phase") or "not seen by an operator yet"
        raise refuse(
            f"{arguments.name} serves no page now: it is {phase}, and none of its pods has a port named {PORT};"
            f" kubectl asgd status {arguments.name} and kubectl asgd top {arguments.name} show its figures"
        )
    with Forward(access, *found, arguments.address, arguments.port) as forward:
        address = f"http://{forward.host}:{forward.port}/"
        print(f"{address}  (pod {found[0]}; Ctrl-C ends it)", flush=True)
        if not arguments.no_browser:
            webbrowser.open(address)
        while not ended(access.job(arguments.name)):
            time.sleep(_LOOK_SECONDS)
    print(f"{arguments.name} has ended, and its page with it")
    return 0
