"""The page beside shard 0: asks it for its status once a second, as `asgd run` and the loggers do, and shows it.

A shard that is not there yet, is started again, answers late or what cannot be read is stated on the page and asked
again. What the page has seen lies beside the checkpoints where these have a volume, so it goes on when the pod has been
moved; else it lasts as long as the pod.
"""

from __future__ import annotations

import threading
import traceback
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec

from asgd.errors import AsgdError, ProtocolError, UserError
from asgd.host.env import ProcessConfig, read_config
from asgd.host.say import say
from asgd.page.about import about_pods
from asgd.page.serving import Door, Serving
from asgd.spec import dump_job
from asgd.spec.environment import Env
from asgd.spec.live import joined
from asgd.wire.ask import Asker, ask_status

ASK_SECONDS = 1.0
AGAIN = "the page was started again"


def serve(env: Mapping[str, str], ended: threading.Event) -> None:
    """One page, until `ended` or until it fails, which is said."""
    try:
        beside = Beside(read_config(env), Path(_need(env, Env.PAGE_FOLDER)), door(env))
        beside.run(ended)
    except AsgdError as error:
        say(f"there is no page, and training goes on without it: {error}")
    except Exception:
        say(f"the page has failed, and training goes on without it: {traceback.format_exc()}")


def door(env: Mapping[str, str]) -> Door:
    """Where the page is served. Raises UserError where the job has no token for it."""
    path = Path(_need(env, Env.PAGE_TOKEN))
    try:
        token = path.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        token = ""
    if not token:
        raise UserError(
            f"{Env.PAGE_TOKEN}: {path} holds no token, as in a Secret of an earlier version: suspend the job, delete"
            " its Secret, resume it"
        )
    return Door(_need(env, Env.PAGE), token, Env.PAGE, AGAIN)


class Beside:
    """The page of a job on a cluster. Raises UserError when it cannot be served."""

    def __init__(self, config: ProcessConfig, folder: Path, door: Door) -> None:
        self._config = config
        self._live = self._read_live()
        self.serving = Serving(about_pods(config.job, config.run, self._spec()), folder, door, say)

    def run(self, ended: threading.Event) -> None:
        """Until `ended` is set or the page's own thread has failed."""
        self.serving.start()
        say(f"page at {self.serving.url.partition('?')[0]}; the token is in the job's Secret")
        asker = Asker(self._config.servers[0], self._config.keys)
        try:
            while self.serving.works and not ended.wait(ASK_SECONDS):
                self.ask(asker)
        finally:
            asker.close()
            self.serving.close(over=False)

    def ask(self, asker: Asker) -> None:
        """One question, and what becomes of the answer."""
        if self.serving.over:
            return
        try:
            status = ask_status(asker, ASK_SECONDS)
        except ProtocolError as error:
            self.serving.tell_unread(str(error))
            return
        if status is None:
            return
        self.serving.tell(status)
        if (live := self._read_live()) != self._live:
            self._live = live
            self.serving.model.about = replace(self.serving.model.about, spec=self._spec())
        if status.phase == "finished":
            self.serving.finish()

    def _read_live(self) -> bytes:
        try:
            return self._config.live.read_bytes() if self._config.live else b""
        except OSError:
            return b""

    def _spec(self) -> str:
        """The job as YAML, with the live fields as they are now."""
        job, spec = self._config.job, self._config.job.document["spec"]
        with suppress(msgspec.MsgspecError):
            spec = joined(spec, msgspec.json.decode(self._live, type=dict[str, Any]))
        return dump_job(msgspec.structs.replace(job, document={**job.document, "spec": spec}))


def _need(env: Mapping[str, str], name: Env) -> str:
    if not env.get(name):
        raise UserError(f"{name}: not set; the operator sets it")
    return env[name]
