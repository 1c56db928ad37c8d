"""Shows a job on this terminal until its end, with its workers' lines among the progress if wanted."""

from __future__ import annotations

import threading

from asgd import exitcodes
from asgd.client.access import Access
from asgd.client.documents import Document, ended, exit_code, part
from asgd.client.errors import ApiError, Unreachable
from asgd.client.following import Follower
from asgd.client.logs import Choice, Following
from asgd.client.show.closing import closing
from asgd.drivers.display import Display

_LAST_LINES_SECONDS = 5.0


def attend(access: Access, name: str, *, logs: bool = False) -> int:
    """Follows and prints the closing lines; the exit code is that of `asgd run`. Ctrl-C leaves the job as it is."""
    over, teller = threading.Event(), None
    try:
        with Display() as display:
            if logs:
                teller = _tell_logs(access, name, display, over)
            job = Follower(access, name, display).follow()
            over.set()
            if teller:
                teller.join(_LAST_LINES_SECONDS)
    except KeyboardInterrupt:
        print(f"\n{name} goes on; see it again: kubectl asgd follow {name}; end it: kubectl asgd stop {name}")
        return exitcodes.INTERRUPTED
    finally:
        over.set()
    assert job is not None
    print(closing(job))
    return code_of(job)


def code_of(job: Document) -> int:
    """Of a job that is followed no further: 130 when it was suspended, as for a run that was interrupted."""
    if not ended(job) and part(job, "status", "phase") == "Suspended":
        return exitcodes.INTERRUPTED
    return exit_code(job)


def _tell_logs(access: Access, name: str, display: Display, over: threading.Event) -> threading.Thread:
    def tell() -> None:
        try:
            for line in Following(access, name, Choice(role="worker"), over.is_set).lines():
                display.note(line)
        except (ApiError, Unreachable) as error:
            display.note(f"warning: no more logs: {error}")

    thread = threading.Thread(target=tell, daemon=True)
    thread.start()
    return thread
