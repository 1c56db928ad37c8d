"""Drift: what is ours of a child, and somebody else has changed or taken away.

The API server keeps a book of who owns which field of an object. A field that was applied and is ours no more, another
has changed or removed. So no value is ever compared: defaults, units, and what others add of their own (a restart's
annotation, a sidecar, a replica count) are no drift. It is put back at once; where it comes again and again, somebody
fights for it, and it is put back ever more rarely.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from asgd_operator.constants import EventReason
from asgd_operator.plan import times
from asgd_operator.plan.actions import Event, Heal, Step
from asgd_operator.plan.fields import Field, holds, missing
from asgd_operator.plan.model import BatchJob, Child, Healed, Observed, ServerSet, Wanted

FIRST_SECONDS, LONGEST_SECONDS = 10.0, 600.0
"""Between two of a child's healings: doubled each time."""
QUIET_FACTOR = 4
"""After so many of these waits without another one, all is forgotten."""
FOUGHT = 3
"""So many healings in a row are a fight."""
NAMED = 3


@dataclass(frozen=True, slots=True)
class Drift:
    """Of one child."""

    child: Child
    wanted: Wanted
    says: str


def step(o: Observed) -> Step:
    """Puts back what has drifted and may be put back now."""
    actions = []
    waits = [_quiet_in(healed, o) for healed in o.healed.values() if healed.count >= FOUGHT]
    for found in drifts(o, healable=True):
        waits.append(_wait(o, found.child))
        if waits[-1] <= 0:
            event = Event(EventReason.DRIFT_HEALED, f"{found.says}; it is put back.", warning=True)
            actions.append(Heal(found.wanted, found.child, event))
    return Step(tuple(actions), look_again=min((wait for wait in waits if wait > 0), default=None))


def sentence(o: Observed) -> tuple[str, str] | None:
    """(reason of Degraded, sentence) where drift is not simply put back."""
    for healed in o.healed.values():
        if healed.count >= FOUGHT and _quiet_in(healed, o) > 0:
            return "DriftFought", (
                f"{healed.says}, again and again; it is put back ever more rarely. Find out who does so."
            )
    left = next(drifts(o, healable=False), None)
    if left is None:
        return None
    return "Drifted", (
        f"{left.says}. It is left, for another version of the operator has made it; change it back by hand."
    )


def drifts(o: Observed, *, healable: bool) -> Iterator[Drift]:
    """Of all children that are there and stay; of those for which what was applied then is what would be applied now,
    or of the others.
    """
    made = {"server": o.servers, "worker": o.workers, "evaluator": o.evaluator}
    for wanted in o.wanted:
        support = wanted.stage == "support"
        child = o.child(wanted.kind, wanted.name) if support else made[wanted.stage]
        if child is None or child.deleting or (child.rendered_hash == wanted.rendered_hash) != healable:
            continue
        if lost := _lost(o, child, wanted, healable):
            yield Drift(child, wanted, _says(child, lost))


def _lost(o: Observed, child: Child, wanted: Wanted, healable: bool) -> list[Field]:
    known = o.healed.get((child.kind, child.name))
    stale = known is not None and (child.version == known.version or child.owned == known.futile)
    if not child.owned or stale or not (healable or wanted.stage != "support"):
        return []  # a support of another rendering is applied anew anyhow
    lost = [field for field in missing(child.owned, wanted.manifest) if not _left(wanted, field)]
    # NB: another version may have owned fewer fields; only what somebody else owns now was changed.
    return lost if healable else [field for field in lost if _editor(child, field)]


def _left(wanted: Wanted, field: Field) -> bool:
    """Fields of a workload that are not applied with it: its size, and a Job's template, which nobody may change while
    it runs, and a queue may before.
    """
    if wanted.kind not in ("StatefulSet", "Job"):
        return False
    return field.live(wanted.kind) or (wanted.kind == "Job" and field.path.startswith(".spec.template"))


def _says(child: Child, lost: list[Field]) -> str:
    who = next((editor for field in lost if (editor := _editor(child, field))), "somebody")
    more = f" and {len(lost) - NAMED} more" if len(lost) > NAMED else ""
    named = ", ".join(field.path for field in lost[:NAMED])
    return f"{child.kind} {child.name}: {who} has changed {named}{more}"


def _editor(child: Child, field: Field) -> str:
    return next((name for name, theirs in child.editors if holds(theirs, field)), "")


def _wait(o: Observed, child: Child) -> float:
    """Seconds until the child may be healed again."""
    known = o.healed.get((child.kind, child.name))
    if known is None or _quiet_in(known, o) <= 0:
        return 0.0
    return max(0.0, times.seconds_until(known.at, delay(known.count), o.now) or 0.0)


def delay(count: int) -> float:
    """Seconds from the `count`th healing to the next."""
    return float(min(LONGEST_SECONDS, FIRST_SECONDS * 2 ** min(count - 1, 16)))


def quiet(healed: Healed, o: Observed) -> bool:
    """Whether the last healing is so long ago that it means nothing any more."""
    return _quiet_in(healed, o) <= 0


def _quiet_in(healed: Healed, o: Observed) -> float:
    return times.seconds_until(healed.at, QUIET_FACTOR * delay(healed.count), o.now) or 0.0


def with_live_fields(manifest: Wanted, child: Child) -> dict[str, object]:
    """The manifest as it is applied to the child as it is: with the size that it has, where nobody else sets it."""
    live: dict[str, object] = {}
    if isinstance(child, ServerSet):
        live = {"replicas": child.replicas}
    elif isinstance(child, BatchJob):
        live = {
            "parallelism": child.parallelism,
            "completions": child.completions,
            "suspend": child.suspended,
        }
    if not live:
        return dict(manifest.manifest)
    spec = {key: value for key, value in manifest.manifest["spec"].items() if key not in live}
    kept = {key: value for key, value in live.items() if holds(child.owned, Field.of("spec", key))}
    return {**manifest.manifest, "spec": spec | kept}
