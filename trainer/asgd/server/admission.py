"""What a server takes from whom: a message that cannot be true, or is not its sender's to say, changes nothing.

`wire/messages.py` bounds each field by itself. Here stands what needs knowledge: who a connection has said that it
speaks for, how large the model and the data are, what was leased. Pure: `refusal` answers with the fault to send back,
or None. What a push means for the weights (order, exactly once, staleness, finite numbers) stays with the shard.

All processes of a job hold the same keys, so a role is claimed, not proved. A connection that has spoken as one member
speaks for no other; one that has not (of `asgd run`, the operator, a person) may stop the job or tell of a death.
"""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
from msgspec import Struct

from asgd.algorithms.followed import unusable
from asgd.errors import ProtocolError
from asgd.spec.phases import plausible
from asgd.wire import limits, rule
from asgd.wire.agreement import readable
from asgd.wire.messages import (
    Beat,
    Bye,
    Command,
    Evaluated,
    Exchange,
    Failed,
    Fault,
    Gathered,
    Hello,
    Init,
    Judged,
    Lease,
    Message,
    Pull,
    Span,
)
from asgd.wire.packing import KINDS
from asgd.wire.partition import named_tensors

FLOAT = 4
"""Bytes of a parameter."""
CLOCKS_APART = 86_400 * 10**9
"""Nanoseconds by which a worker's clock may be ahead of this server's."""
CODECS = ("fp32", *KINDS)
LOST_MOST = 1 << 40
LOST_SAMPLES_MOST = 1 << 42
"""Updates and samples that one restart may have lost by a worker's word; sums over all terms stay in 63 bits."""
SECONDS_MOST = 1e12
PUSHES_MOST = 1 << 53
"""Counts in reports."""
BUCKETS = 100
"""Of durations, as `spec/durations.py` counts them."""
_REASON = re.compile(r"[a-z]{0,32}")

Speaker = tuple[str, int]
"""(role, index)"""


class Known(Struct, frozen=True):
    """What a server knows at the moment of a message."""

    job: str
    shard: int
    shards: int
    speaker: Speaker | None = None
    """Whom the message's connection speaks for, as it has said itself; None: it has said nothing."""
    term: int = 1
    dataset: int | None = None
    """Samples in an epoch; None for streams, or nobody has told."""
    leased: int | None = None
    """Samples that were handed out, over all epochs; None: an earlier start may have handed out more."""
    figures: tuple[str, ...] = ()
    """Names of the figures that the strategy needs of each push."""
    workers: int = limits.WORKERS_MOST
    """Workers are numbered below this."""
    newest: int = limits.INCARNATION_MOST
    """The largest incarnation that there can be: who starts now."""
    room: int = 1 << 62
    """Bytes of memory that this server's process may have."""
    stores: bool = False
    """There is a checkpoint store, which counts terms; without one every start is of term 1."""
    size: int | None = None
    """Parameters of the model; None while nobody has told."""
    layout: str = ""
    version: int = 0
    samples: int = 0
    """Of this shard."""
    members: Mapping[int, int] = {}
    """{worker: incarnation}"""
    requests: Mapping[int, int] = {}
    """{worker: number of its newest request for a lease}"""
    evaluator: bool = True
    """An evaluator is there."""
    question: tuple[int, int, int] | None = None
    """Of the open question to the oracle: number, term, and how many losses answer it."""
    measured: int = 0
    rule: bytes = b""
    """The optimizer that scripts have handed over."""
    measures: Mapping[str, int] = {}
    """Of the newest measurement: its number, and this shard's own part as {name: dimensions}."""


def refusal(message: Message, known: Known) -> Fault | None:
    """Why a message is not served; None when it is as it should be, or for another to judge."""
    check = _CHECKS.get(type(message))
    found = check(message, known) if check else None
    return Fault(f"refused:{found[0]}", found[1], known.term) if found else None


Found = tuple[str, str] | None
"""(reason, sentence) of a refusal; reasons are few, for they label a metric."""


def _another(known: Known, role: str, index: int) -> Found:
    """A connection speaks for the member that it has named first."""
    if known.speaker is None or known.speaker == (role, index):
        return None
    return "speaker", f"this connection speaks for {_name(*known.speaker)}, not for {_name(role, index)}"


def _name(role: str, index: int) -> str:
    return f"{role} {index}"


def _not_theirs(known: Known, what: str) -> Found:
    """What only a connection may say that is no member's."""
    if known.speaker is None:
        return None
    return "speaker", f"{_name(*known.speaker)} may not say {what}"


# -- joining -------------------------------------------------------------------------------------------------------


def _hello(message: Hello, known: Known) -> Found:
    if message.role == "shard":
        return "role", "a shard says no hello"
    if message.job != known.job:
        # NB: the server itself says which job this is.
        return None
    if message.role == "worker" and message.index >= known.workers:
        return "index", f"worker {message.index}: this job's workers are numbered below {known.workers}"
    if message.incarnation > known.newest:
        return "incarnation", f"incarnation {message.incarnation} is more than a day in the future"
    if known.shard and None not in (known.dataset, message.dataset) and message.dataset != known.dataset:
        return "dataset", f"this job's data has {known.dataset} samples, not {message.dataset}"
    if not readable(message.digest):
        return "digest", "no description of data and model"
    if not rule.readable(message.rule, message.size):
        return "rule", "no description of an optimizer"
    return _another(known, message.role, message.index) or _past(message, known) or _model(message, known)


def _past(message: Hello, known: Known) -> Found:
    """What a peer says that it has seen of this shard."""
    if message.term > known.term and not known.stores:
        return "term", f"term {message.term}: this job has no store, so term {known.term} is the only one"
    for _, seen, samples in [*message.past, (message.term, message.seen, message.samples)]:
        if seen - known.version > LOST_MOST or samples - known.samples > LOST_SAMPLES_MOST:
            return "seen", f"{seen} updates and {samples} samples: no job comes so far"
    return None


def _model(message: Hello, known: Known) -> Found:
    part = FLOAT * -(-message.size // known.shards)
    if part > known.room:
        needs = f"{message.size} parameters are {part >> 20} MiB for each of {known.shards} shards"
        return "size", f"{needs}, and this server has {known.room >> 20} MiB of memory"
    if known.size is not None and message.size != known.size and message.layout == known.layout:
        return "size", f"{message.size} parameters: this job's model has {known.size}"
    if message.size == 0:
        return "size", "a model without parameters"
    if message.tensors:
        total = _described(message.tensors)
        if total is None:
            return "tensors", "the model's tensors are not [[name, shape], ...]"
        if total != message.size:
            return (
                "tensors",
                f"the model's tensors have {total} elements, and it is said to have {message.size}",
            )
    return None


@functools.lru_cache(maxsize=2)
def _described(tensors: bytes) -> int | None:
    """Elements of all tensors together; None when they are no list of names and shapes.

    NB: while a server waits for weights each worker says the same hello many times a second.
    """
    try:
        return sum(math.prod(shape) for _, shape in named_tensors(tensors))
    except ProtocolError:
        return None


# -- pushes and pulls ----------------------------------------------------------------------------------------------


def _exchange(message: Exchange, known: Known) -> Found:
    if known.speaker is not None and known.speaker != ("worker", message.index):
        return _another(known, "worker", message.index)
    if message.codec not in CODECS or message.answer not in CODECS:
        return "codec", f"{message.codec!r} and {message.answer!r}: codecs are {', '.join(CODECS)}"
    if message.visits and (found := _visits(message, known)):
        return found
    if message.settings and (found := _settings(message, known)):
        return found
    if message.meta or known.figures:
        # NB: a batch that was dropped comes without a vector, and nothing is done with it.
        needed = () if message.bare and not message.finite else known.figures
        return _figures(message.meta, needed)
    return None


def _settings(message: Exchange, known: Known) -> Found:
    settings, told = message.settings, rule.part_of(known.rule, message.part)
    if told is None or told.optimizer is None or len(settings) != len(told.groups):
        return "settings", f"figures of {len(settings)} groups, which no optimizer of the servers has"
    bad = unusable(told.optimizer, settings)
    return ("settings", bad) if bad else None


def _visits(message: Exchange, known: Known) -> Found:
    if known.shard:
        return None
    total = sum(stop - start for _, start, stop in message.visits)
    if total > message.samples:
        return "visits", f"visits of {total} samples by a push of {message.samples}"
    return _ranges(message.visits, known)


def _ranges(spans: list[Span], known: Known) -> Found:
    """Ranges that a worker can have been granted."""
    size = known.dataset
    if size is None:
        return "visits", "this job's data is a stream, of which nobody has ranges"
    for epoch, start, stop in spans:
        if not start < stop <= size:
            return "visits", f"samples {start} to {stop} of epoch {epoch}: an epoch has {size}"
        if known.leased is not None and epoch * size + stop > known.leased:
            return "visits", f"samples {start} to {stop} of epoch {epoch} were never handed out"
    return None


def _figures(meta: Mapping[str, float], needed: Sequence[str]) -> Found:
    for name, value in meta.items():
        if not abs(value) <= limits.FIGURE_MOST:
            return "figures", f"{name}: {value} is not a number up to {limits.FIGURE_MOST:.0f}"
    missing = [name for name in needed if name not in meta]
    return ("figures", f"{missing[0]} is missing, which the strategy needs") if missing else None


def _pull(message: Pull, known: Known) -> Found:
    if message.answer not in CODECS:
        return "codec", f"{message.answer!r}: codecs are {', '.join(CODECS)}"
    return _another(known, message.role, message.index)


def _init(message: Init, known: Known) -> Found:
    return _another(known, "worker", message.index)


# -- what shard 0 is told ------------------------------------------------------------------------------------------


def _lease(message: Lease, known: Known) -> Found:
    newest = known.requests.get(message.index, 0)
    if message.request < newest:
        # NB: served, a repetition that comes late would lease samples that nobody knows of.
        return "order", f"request {message.request} of worker {message.index} comes after request {newest}"
    if message.skipped and (found := _ranges(message.skipped, known)):
        return found
    return _another(known, "worker", message.index)


def _beat(message: Beat, known: Known) -> Found:
    if found := _another(known, message.role, message.index):
        return found
    if message.role == "shard":
        return _is_shard(message.index, known)
    if len(getattr(message.report, "buffers", b"")) % FLOAT:
        return "report", "buffers that are no float32"
    times = getattr(message.report, "times", None)
    for spread in (times.own, times.exchange) if times else ():
        if not _plausible(spread.counts, spread.seconds):
            return "report", "durations that nobody can have measured"
    told = getattr(message.report, "phases", None)
    if told and not plausible(told.number, told.seconds_ago, told.letters):
        return "report", "phases that nobody can have gone through"
    return None


def _plausible(counts: Mapping[int, int], seconds: float) -> bool:
    good = all(0 <= bucket < BUCKETS and 0 <= count <= PUSHES_MOST for bucket, count in counts.items())
    return good and 0 <= seconds <= SECONDS_MOST


def _is_shard(index: int, known: Known) -> Found:
    if 0 < index < known.shards:
        return None
    return "shard", f"this job has no shard {index} beside shard 0"


def _gathered(message: Gathered, known: Known) -> Found:
    found = _is_shard(message.shard, known) or _another(known, "shard", message.shard)
    if found or not message.measures:
        return found
    dimensions = {name: _dimensions(value) for name, value in message.measures.items()}
    bad = next((name for name, count in dimensions.items() if count is None), None)
    if bad is not None:
        return "measures", f"{bad} is no array of finite numbers"
    if (
        message.primary_term == known.term
        and message.measured == known.measured
        and dimensions != dict(known.measures)
    ):
        return "measures", f"{dimensions}: the measurement is of {dict(known.measures)} dimensions"
    return None


_NESTED: tuple[Any, ...] = (list[float], list[list[float]], list[list[list[float]]])


def _dimensions(value: Any) -> int | None:
    """Of an array as nested lists of numbers; None if it is none, or not all is finite."""
    for dimensions, kind in enumerate(_NESTED, 1):
        try:
            array = np.array(msgspec.convert(value, kind), np.float64)
        except (msgspec.ValidationError, ValueError):
            continue
        return dimensions if np.isfinite(array).all() else None
    return None


def _judged(message: Judged, known: Known) -> Found:
    if known.speaker is not None and known.speaker[0] != "evaluator":
        return _not_theirs(known, "what an oracle says")
    if not known.evaluator:
        return "role", "this job has no evaluator that could judge"
    number, term, count = known.question or (0, 0, 0)
    if number and (message.number, message.term) == (number, term) and len(message.losses) != count:
        return "losses", f"{len(message.losses)} losses, and {count} were asked for"
    return None


def _evaluated(message: Evaluated, known: Known) -> Found:
    if message.role == "worker":
        if known.members.get(message.index) != message.incarnation:
            return "role", f"worker {message.index} is no member"
        return _another(known, "worker", message.index)
    if message.role != "evaluator" or not known.evaluator:
        return "role", "this job has no such evaluator"
    return _another(known, "evaluator", message.index)


def _bye(message: Bye, known: Known) -> Found:
    if message.lost:
        return _not_theirs(known, "that somebody was lost")
    return _another(known, message.role, message.index)


def _failed(message: Failed, known: Known) -> Found:
    if message.index >= known.workers:
        return "index", f"worker {message.index}: this job's workers are numbered below {known.workers}"
    return _another(known, "worker", message.index)


def _command(message: Command, known: Known) -> Found:
    if message.verb not in ("status", "buffers", "saves") and (found := _not_theirs(known, message.verb)):
        return found
    if not _REASON.fullmatch(message.argument):
        return "reason", "a reason is one word of small letters"
    return None


_CHECKS: dict[type[Message], Callable[[Any, Known], Found]] = {
    Hello: _hello,
    Exchange: _exchange,
    Pull: _pull,
    Init: _init,
    Lease: _lease,
    Beat: _beat,
    Gathered: _gathered,
    Judged: _judged,
    Evaluated: _evaluated,
    Bye: _bye,
    Failed: _failed,
    Command: _command,
}
