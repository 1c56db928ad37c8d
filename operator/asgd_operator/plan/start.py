"""Start and resume: supporting objects, then servers, and workers only when every server is ready.

GPUs are asked for by workers, so a job whose servers wait for room never holds any. In a queue it is the other way
round: see `queueing`. Workloads of a running job are left as they are, whatever this version would render today; only
a stopped one whose frozen fields were edited is removed, and made anew when it is really gone.
"""

from __future__ import annotations

from asgd_operator.constants import Condition, EventReason
from asgd_operator.plan import keys, success
from asgd_operator.plan.actions import Action, Apply, ApplyLive, CreateOnce, Delete, Event, Step
from asgd_operator.plan.model import BatchJob, Observed, ServerSet, Wanted
from asgd_operator.plan.scale import live_fields


def step(o: Observed) -> Step:
    """The next writes on the way to a running job."""
    if o.spec is None:
        return Step()
    stale = outdated(o)
    if stale:
        return Step(tuple(stale))
    events: list[Event] = []
    actions = [*_supports(o), *_former_evaluator(o)]
    if o.queued:
        actions += _workers(o)
    if not o.waits_in_queue:
        actions += _servers(o, events)
    if o.servers_ready and not o.queued:
        actions += _workers(o)
    if o.servers_ready and not o.waits_in_queue:
        actions += _evaluator(o)
    return Step(tuple(actions), tuple(events))


def outdated(o: Observed) -> list[Action]:
    """Deletes stopped workloads that were made from other frozen fields than the job has now."""
    found: list[Action] = []
    if o.servers is not None and o.servers_stopped and _differs(o, o.servers, "server"):
        found.append(Delete(o.servers.kind, o.servers.name, o.servers.uid))
    if o.workers is not None and o.workers_stopped and o.servers_stopped and _differs(o, o.workers, "worker"):
        found.append(Delete(o.workers.kind, o.workers.name, o.workers.uid))
    return found


def _differs(o: Observed, child: ServerSet | BatchJob, stage: str) -> bool:
    return not child.deleting and any(child.spec_hash != wanted.spec_hash for wanted in o.wanted_at(stage))


def _supports(o: Observed) -> list[Action]:
    found: list[Action] = []
    for wanted in o.wanted_at("support"):
        if wanted.kind == "Secret":
            # NB: never applied over existing keys, or pods of two times would not understand each other.
            found += [CreateOnce(wanted)] if keys.due(o, wanted) else []
        elif wanted.once:
            first = o.servers is None and o.workers is None
            found += _made(o, wanted) if first or (wanted.kind == "PodGroup" and _edited(o)) else []
        elif _needed(o, wanted):
            child = o.child(wanted.kind, wanted.name)
            found += [Apply(wanted, child.uid)] if child is not None else _made(o, wanted)
    return [*found, *_leftovers(o)]


def _made(o: Observed, wanted: Wanted) -> list[Action]:
    """NB: what has its name already is somebody else's."""
    return [] if (wanted.kind, wanted.name) in o.taken else [Apply(wanted)]


def _edited(o: Observed) -> bool:
    """NB: a group that asks for more workers than there are keeps a worker that is started again from any node."""
    return bool(o.condition(Condition.ACCEPTED).get("observedGeneration") != o.generation)


def _needed(o: Observed, wanted: Wanted) -> bool:
    return o.child(wanted.kind, wanted.name) is None or changed(o, wanted)


def changed(o: Observed, wanted: Wanted) -> bool:
    """A support is there, and is to be applied anew."""
    child = o.child(wanted.kind, wanted.name)
    if child is None or wanted.immutable or child.deleting:
        return False
    return child.rendered_hash != wanted.rendered_hash


def pinned(o: Observed) -> bool:
    """The servers run from what another version took for the same fields; what they read stays."""
    return o.servers is not None and any(
        o.servers.spec_hash != item.spec_hash for item in o.wanted_at("server")
    )


def _leftovers(o: Observed) -> list[Action]:
    """Immutable ConfigMaps of former frozen fields, once nothing reads them any more."""
    if o.servers is None or o.workers is None or pinned(o):
        return []
    if any(o.workers.spec_hash != wanted.spec_hash for wanted in o.wanted_at("worker")):
        return []
    names = {wanted.name for wanted in o.wanted}
    return [
        Delete(child.kind, child.name, child.uid)
        for child in o.others
        if child.kind == "ConfigMap" and child.name not in names and not child.deleting
    ]


def _servers(o: Observed, events: list[Event]) -> list[Action]:
    if o.servers is None:
        events.append(Event(EventReason.SERVERS_STARTED, "Starting the parameter servers."))
        return [action for wanted in o.wanted_at("server") for action in _made(o, wanted)]
    shards = o.spec.parameter_server.shards if o.spec else 0
    if o.servers.deleting or o.servers.replicas == shards or (o.servers.replicas > 0 and pinned(o)):
        return []
    return [ApplyLive(o.servers.kind, o.servers.name, o.servers.uid, {"replicas": shards})]


def _workers(o: Observed) -> list[Action]:
    job = o.workers
    if job is None:
        return [action for wanted in o.wanted_at("worker") for action in _made(o, wanted)]
    if job.suspended and not job.deleting and not job.finished and not o.queued:
        return [ApplyLive(job.kind, job.name, job.uid, live_fields(o, suspend=False))]
    return []


def _former_evaluator(o: Observed) -> list[Action]:
    """One that ended before the job was suspended, and has kept its log since; another comes if it is wanted."""
    job, rested = o.evaluator, o.servers_stopped and o.workers_stopped
    if job is None or job.deleting or not job.finished or not rested or success.completing(o):
        return []
    return [Delete(job.kind, job.name, job.uid)]


def _evaluator(o: Observed) -> list[Action]:
    """Made beside the workers if the job has one; made anew when its devices changed, removed when the spec has
    nothing for it any more.
    """
    wanted, job = o.wanted_at("evaluator"), o.evaluator
    if job is None:
        return [action for item in wanted for action in _made(o, item)]
    fits = pinned(o) or any(item.spec_hash == job.spec_hash for item in wanted)
    return [] if fits or job.deleting or success.completing(o) else [Delete(job.kind, job.name, job.uid)]
