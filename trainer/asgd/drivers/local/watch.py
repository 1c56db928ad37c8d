"""What becomes of the run when one of its processes ends: started again within its budget, let go, or the end of all.

Exit codes say which (`exitcodes.py`). Shard 0 is told of a death at once, so it need not wait for missing heartbeats.
Whether training goes on is shard 0's to decide, but for two cases: nobody is left who could train, and training does
not begin. A worker that hangs ends itself when shard 0 has given it up; one that cannot even do that, or that never
joins, is killed here.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable

from asgd import exitcodes
from asgd.drivers.local.children import Child, Children
from asgd.errors import AsgdError, TryAgain, UserError
from asgd.spec.status import Status
from asgd.spec.types import JobSpec
from asgd.wire.messages import Bye, Command

Tell = Callable[[Command | Bye], bool]

SILENT_SECONDS = {"hung": 60.0, "lost": 300.0}
"""A worker process that shard 0 has given up so long ago, and that lives and is no member again, is killed. One whose
heartbeat has stopped gets more: something may hold the interpreter's lock for minutes."""


class Watch:
    """Looks after `children`. `note` says a line to the person, `tell` a message to shard 0, `clock` the seconds."""

    def __init__(
        self, spec: JobSpec, children: Children, note: Callable[[str], None], tell: Tell,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:  # fmt: skip
        self._spec, self._children, self._note, self._tell, self._clock = spec, children, note, tell, clock
        self._status: Status | None = None
        self._began = clock()
        self._silent: dict[str, float] = {}
        """{worker process that is alive and no member: since when}."""
        self._joined: set[str] = set()
        """Worker processes that were members since they started."""
        self.failure: AsgdError | None = None
        """Why the run can't go on."""

    def look(self, status: Status | None) -> None:
        """Deals with every child that has ended since the last look; `status` is the newest one."""
        self._status = status
        for child, code in self._children.ended():
            self._silent.pop(child.name, None)
            self._joined.discard(child.name)
            {"server": self._server, "worker": self._worker}.get(child.role, self._evaluator)(child, code)
        self._stop_when_nobody_is_left()
        if not (status and status.stop_reason):
            self._fail_without_a_start()
            self._kill_silent_workers()

    def _server(self, child: Child, code: int) -> None:
        if code == exitcodes.USER_ERROR:
            self._fail_as_user(child)
        elif code == exitcodes.FENCED:
            # NB: started again, it would fence off the other run's, and so on in turn.
            self.failure = TryAgain(
                f"a server of another run has taken the place of {child.name} in the checkpoint store; two runs must"
                " not share one (spec.checkpoint.uri)"
            )
        elif child.restarts >= self._spec.parameter_server.backoff_limit:
            self.failure = TryAgain(
                f"{child.name} ended {how(code)} after {child.restarts} restarts"
                f" (spec.parameterServer.backoffLimit); {self._last_words(child)}"
            )
        else:
            self._note(f"{child.name} ended {how(code)}; it starts again from the newest checkpoint")
            self._children.restart(child)

    def _worker(self, child: Child, code: int) -> None:
        stopping = self._status is not None and bool(self._status.stop_reason)
        if stopping or code in (exitcodes.DONE, exitcodes.DIVERGED):
            child.ended = code
            if code == exitcodes.USER_ERROR:
                self._note(f"{child.name} was refused; {self._last_words(child)}")
        elif code == exitcodes.DRAINED:
            child.ended = code
            self._note(f"{child.name} has left (it was told to)")
        elif code == exitcodes.USER_ERROR:
            self._fail_as_user(child)
        elif child.restarts >= self._spec.workers.backoff_limit_per_index:
            child.ended = code
            self._give_up(child, code)
        else:
            self._say_lost(child)
            log = f"({self._children.log(child.role, child.index)})"
            said = self._last_words(child) if code > 0 else log
            self._note(f"{child.name} ended {how(code)}; it starts again{';' if code > 0 else ''} {said}")
            self._children.restart(child)

    def _stop_when_nobody_is_left(self) -> None:
        """Users' own loops may end before a stop rule does, and workers may be told to leave: the last ends the job."""
        if self._status is None or self._status.stop_reason:
            return
        mine = [child for child in self._children.all.values() if child.role == "worker"]
        known = {child.index for child in mine}
        guests = any(w.alive and w.index not in known for w in self._status.workers)
        if not guests and all(child.ended is not None for child in mine):
            own = any(child.ended == exitcodes.DONE for child in mine)
            self._tell(Command("stop", "ended" if own else "stopped"))

    def _fail_without_a_start(self) -> None:
        """As the operator does: a job whose first update does not come has failed."""
        limit = self._spec.run_policy.startup_deadline_seconds
        begun = self._status and (self._status.updates or self._status.rollbacks)
        if self.failure or self._clock() - self._began <= limit or begun:
            return
        told = self._status.waiting_for or "no push was accepted" if self._status else ""
        waits = told or "no parameter server answers"
        self.failure = TryAgain(
            f"training did not begin within spec.runPolicy.startupDeadlineSeconds: {limit} s; {waits}"
        )

    def _kill_silent_workers(self) -> None:
        """A worker that was given up ends itself, but not while something holds the interpreter's lock."""
        newest = {worker.index: worker for worker in self._status.workers} if self._status else {}
        now, startup = self._clock(), self._spec.run_policy.startup_deadline_seconds
        for child in self._children.all.values():
            if child.role != "worker" or child.ended is not None:
                continue
            view = newest.get(child.index)
            state = view.state if view else ""
            if state == "left" or (view and view.alive):
                self._silent.pop(child.name, None)
                self._joined.add(child.name)
                continue
            since = self._silent.setdefault(child.name, now)
            limit = SILENT_SECONDS.get(state, startup) if child.name in self._joined else startup
            if now - since > limit:
                self._note(f"{child.name} lives and is no member for {limit:.0f} s: it is killed")
                self._children.kill_one(child)
                self._silent[child.name] = now

    def _give_up(self, child: Child, code: int) -> None:
        self._say_lost(child)
        last = self._last_words(child)
        self._note(
            f"{child.name} ended {how(code)} and is given up after {child.restarts} restarts"
            f" (spec.workers.backoffLimitPerIndex); {last}"
        )
        alive = [c for c in self._children.all.values() if c.role == "worker" and c.ended is None]
        if len(alive) < self._spec.workers.min_replicas:
            self.failure = TryAgain(
                f"{len(alive)} workers are left, fewer than spec.workers.minReplicas:"
                f" {self._spec.workers.min_replicas}; {last}"
            )

    def _say_lost(self, child: Child) -> None:
        for worker in self._status.workers if self._status else []:
            if worker.index == child.index and worker.alive:
                self._tell(Bye("worker", child.index, worker.incarnation, lost=True))

    def _evaluator(self, child: Child, code: int) -> None:
        finishing = self._status is not None and self._status.phase in ("evaluating", "finished")
        over = code == exitcodes.DONE or finishing
        if code == exitcodes.USER_ERROR and not over:
            self._fail_as_user(child)
            return
        if not over and child.restarts < self._spec.workers.backoff_limit_per_index:
            self._note(f"{child.name} ended {how(code)}; it starts again")
            self._children.restart(child)
            return
        child.ended = code
        if code != exitcodes.DONE:
            self._note(f"{child.name} ended {how(code)} and is given up; {self._last_words(child)}")
            # NB: shard 0 would wait a while for the final evaluation of one that is only silent.
            self._tell(Bye("evaluator", 0, 0, lost=True))

    def _fail_as_user(self, child: Child) -> None:
        self.failure = UserError(self._children.last_words(child).removeprefix("asgd: "))

    def _last_words(self, child: Child) -> str:
        log = self._children.log(child.role, child.index)
        return f"its last words: {self._children.last_words(child)} ({log})"


def how(code: int) -> str:
    """How a process ended, in words; `code` -N stands for signal N."""
    return f"with exit code {code}" if code >= 0 else f"by signal {signal.Signals(-code).name}"
