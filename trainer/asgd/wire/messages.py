"""Every message of the wire as a typed, versioned struct; payload (parameters, gradients) travels in frames beside it.

A header is one byte of protocol version and a msgpack array of one of these structs (msgspec, tagged union): unknown
versions, malformed headers and what exceeds `limits.py` are refused before anything is believed. What a type cannot
say is `server/admission.py`'s. No pickle. Requests say who asks (role, index, incarnation): ZeroMQ forgets it.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from msgspec import Meta, Struct

from asgd.errors import ProtocolError, VersionMismatch
from asgd.wire import limits
from asgd.wire.fields import (
    Count,
    Dataset,
    Figures,
    Holding,
    Incarnation,
    Index,
    Name,
    Natural,
    Parts,
    Secret,
    Size,
    Term,
    Total,
    Version,
)  # fmt: skip
from asgd.wire.fields import Role as Role
from asgd.wire.fields import Span as Span
from asgd.wire.reports import BestReport, Report, Text

PROTOCOL, OF_AVERAGE = 1, -2


class Message(Struct, tag=True, tag_field="t", array_like=True):
    """Base of all messages."""


class Hello(Message):
    """Joins, at any time. Sent to each shard; answered by Welcome."""

    job: Name
    role: Role
    index: Index
    incarnation: Incarnation
    size: Size
    """Parameters of the whole model, N."""
    layout: Name
    """Hash of names and shapes: who differs is refused."""
    dataset: Dataset | None = None
    seen: Version = 0
    """Highest version this peer has seen acknowledged by this shard in `term`; `past`: (term, seen, samples) before."""
    term: Term = 0
    past: Annotated[list[tuple[Term, Version, Total]], Meta(max_length=limits.STARTS_MOST)] = []
    sequence: Version = 0
    """The last push this peer knows acknowledged."""
    node: Name = ""
    guarantee: Name = ""
    tensors: Annotated[bytes, Meta(max_length=limits.TENSORS_MOST)] = b""
    """JSON of [[name, shape], ...] in flat order; it goes into checkpoints and gives strategies the model's blocks."""
    lanes: Annotated[tuple[Name, ...], Meta(max_length=8)] = ("zmq",)
    samples: Total = 0
    """Samples of the whole job that this peer has seen accepted by this shard in `term`."""
    random: Secret = b""
    """This end's part of a bulk session's keys; the same in all hellos until one is welcomed."""
    segment: Name = ""
    """Memory that this worker offers to share, and the token that lies in it (`lanes/shm.py`)."""
    segment_token: Secret = b""
    evaluates: bool = False
    """The task has an evaluation, so an evaluator is there or about to come."""
    digest: Annotated[bytes, Meta(max_length=limits.DIGEST_MOST)] = b""
    """What the peer's data, frozen parameters and buffers are like (`agreement.py`); to shard 0."""
    own_loop: bool = False
    """The worker runs a loop of its own: it may tell `dataset` later, by another hello, or never."""
    rule: Annotated[bytes, Meta(max_length=limits.RULE_MOST)] = b""  # its script's optimizer (`rule.py`)


class Welcome(Message):
    term: Natural
    shard: Natural
    shards: Natural
    version: Natural
    start: Natural
    """First element of the flat vector that this shard holds."""
    stop: Natural
    chunk: Natural
    """Elements of one payload chunk."""
    ready: bool
    """False: weights are not there yet."""
    bring: bool
    """You are asked to bring the initial weights (Init, chunk by chunk)."""
    samples: Natural = 0
    lane: str = "zmq"
    """Where Exchange and Pull go from now on; for other lanes than zmq the fields below are set."""
    address: str = ""
    """tcp://:PORT on the shard's host, or ipc://PATH."""
    token: bytes = b""
    """Opens one connection."""
    random: bytes = b""
    """The shard's part of the session's keys."""
    weights: str = ""
    """Name of the memory in which the shard's weights may be read in place; `exchange.readInPlace` only."""
    membership: Natural = 0
    """Of shard 0: which one of this term it is; ranges that were granted in an earlier one are others' now."""


class Init(Message):
    """One chunk of the seeded initial weights, payload fp32."""

    index: Index
    incarnation: Incarnation
    chunk: Version


class Exchange(Message):
    """One chunk of a push, and with `pull` the request for the same chunk of the weights: one round trip for both."""

    index: Index
    incarnation: Incarnation
    sequence: Version
    chunk: Version
    base: Version
    samples: Count
    steps: Count
    pull: bool
    finite: bool
    """False: the worker saw inf or nan; there is no payload and the push is refused by every shard alike."""
    codec: Name = "fp32"
    answer: Name = "fp32"
    """Codec of the weights in the reply."""
    loss: float | None = None
    visits: Annotated[list[Span], Meta(max_length=limits.VISITS_MOST)] = []
    """(epoch, start, stop) ranges of the epoch's order that this push covers; to shard 0."""
    meta: Figures = {}  # of the strategy's worker half; each is finite and below `limits.FIGURE_MOST`
    held: Natural = 0
    """State of this chunk that the worker holds (`wire/delta.py`); 0: none."""
    shared: bool = False  # as in Reply
    bare: bool = False
    """The whole push stands here, for each shard alike, without a payload: for strategies that compare losses first."""
    part: Version = 0  # of several models: its number; `base` then counts its own updates
    parts: Parts = 1
    run: Parts = 1
    """How many chunks from `chunk` on it is about; more than one only where they lie in the shared segment."""
    rollbacks: Version = 0
    """How often the job had gone back when the weights were pulled that it was computed from."""
    settings: list[Figures] = []
    """Of each group of a script's optimizer: the figures that are not those of `Hello.rule`; empty: none is."""
    scalars: Figures = {}  # what the loss function returns beside the loss; to shard 0


class Pull(Message):
    """Asks for one chunk of the answer. A worker's may be held back (warm start, SSP); an evaluator's never is."""

    role: Role
    index: Index
    incarnation: Incarnation
    chunk: Version
    request: Version
    answer: Name = "fp32"
    held: Natural = 0
    """As in Exchange."""
    of: Annotated[int, Meta(ge=OF_AVERAGE, lt=limits.WORKERS_MOST)] = -1
    """-1: the weights; OF_AVERAGE: their moving average; from Zeno's oracle: a worker's contribution to the round."""
    part: Version = 0
    parts: Parts = 1


class Reply(Message):
    """To Exchange and Pull; with a payload when weights were asked for and the strategy has new ones."""

    term: Natural
    sequence: Natural
    chunk: Natural
    version: Natural
    verdict: str
    """applied | duplicate | pulled | refused:<reason> | waiting (a pull that is held back; the answer comes later)"""
    workers: Natural = 1
    samples: Natural = 0
    codec: str = ""
    stop: str = ""
    notes: dict[str, float] = {}
    """Figures of the strategy's server half."""
    base: Natural = 0
    """State of the chunk that the payload must be added to; 0: it is the chunk itself."""
    state: Natural = 0
    """State of the chunk that it makes; 0: states are not kept."""
    shared: bool = False
    """The weights lie in the shared segment, at the chunk's place."""
    stamp: Natural = 0
    """Which state of the shard this is, by the records of its log (`recording/`); 0: not recorded."""
    whole: bool = True
    """False: it is about one part of the shard, whose chunks have no place in the segment."""
    run: Parts = 1
    rollbacks: Natural = 0  # how often the job has gone back to a checkpoint, as far as this shard is
    models: list[Natural] = []  # of several with own steps: the updates of each, as far as this shard is


class Lease(Message):
    """Asks shard 0 for the next chunk of sample indices; asked again with the same `request`, it is the same one."""

    index: Index
    incarnation: Incarnation
    request: Version
    term: Version = 0
    """Shard 0's, as far as this worker knows: a request that an earlier server was asked is refused by the next."""
    batch: Version = 0
    """The range is a multiple of so many samples; 0: of `spec.batchSize`."""
    until: Annotated[int, Meta(ge=-1, le=limits.EPOCH_MOST)] = -1
    """Nothing of a later epoch is wanted; -1: any will do."""
    skipped: Annotated[list[Span], Meta(max_length=limits.VISITS_MOST)] = []
    """Ranges that a loop of its own has read and left out: they count as visited, though no push names them."""


class Granted(Message):
    """A range of an epoch's order, or `wait` (others hold the rest of the last epoch), `passed` or `over`."""

    epoch: Natural = 0
    start: Natural = 0
    stop: Natural = 0
    wait: bool = False
    over: bool = False
    term: Natural = 0
    membership: Natural = 0
    """The range is this worker's as long as shard 0 names no newer term or membership."""
    passed: bool = False
    """All of the epochs up to `Lease.until` is handed out; there is more of later ones."""


class Beat(Message):
    """Sign of life from a thread that does not compute, once a second; shards and evaluators send it too."""

    role: Role
    index: Index
    incarnation: Incarnation
    report: Report = None
    """By role: a worker's or a shard's; an evaluator has none."""


class Beaten(Message):
    """Answer to Beat: what everybody must know."""

    workers: Natural = 0
    members: dict[int, int] = {}
    """{live worker: incarnation}"""
    stop: str = ""
    final: bool = False  # to the evaluator: training is over, evaluate these weights and leave
    save: Natural = 0
    """To shards: number of the newest save and at which version it falls due."""
    save_at: Natural = 0
    saved: Natural = 0  # the newest save that is complete
    dataset: int | None = None
    resting: list[Natural] = []
    """Workers without data for now: no clock waits for them."""
    every_seconds: float = 0.0  # to the evaluator: how often to evaluate; 0: not by time
    given_up: str = ""  # why this process was given up and has to end; nothing else is told then
    rollbacks: Natural = 0
    back_to: Natural = 0  # to shards: who has not gone back so often does so, to this save
    evaluation_due: Natural = (
        0  # to the evaluator: an evaluation by updates or epochs, by its number; 0: none is due
    )


class Gathered(Message):
    """A shard tells shard 0 which contributions to the open round it holds in full (`server/round_table.py`)."""

    shard: Index
    term: Term
    primary_term: Term
    """Shard 0's term that the numbers below belong to; 0: none yet."""
    decided: Version
    """Number of the newest decision that it carried out."""
    have: Holding = []
    measured: Version = 0
    """Number of the measurement that `measures` answers; 0: none."""
    measures: Annotated[dict[Name, Any], Meta(max_length=limits.FIGURES_MOST)] = {}
    gone: Holding = []
    """What it has had and does not hold: refused, dropped, or folded in already."""


class Decided(Message):
    """Shard 0 closes a round on every shard alike, or first asks each for its part of a measurement."""

    number: int
    term: int
    members: list[int]
    measure: bool = False
    decision: dict[str, Any] = {}


class Question(Message):
    """Shard 0 asks Zeno's oracle for losses: at the centre, and after a step by each member's gradient alone."""

    number: int
    term: int
    members: list[int]
    rate: float
    version: Natural
    """Of shard 0: which samples the oracle draws."""


class Judged(Message):
    """The oracle's answer, and its word that it is there; number 0 before it has answered any question."""

    number: Version
    term: Term
    losses: Annotated[list[float], Meta(max_length=limits.WORKERS_MOST + 1)] = []
    """At the centre, then one for each member in the question's order."""


class Evaluated(Message):
    """The evaluator's result on the weights of `version`; the answer's body is their update count."""

    version: Version
    samples: Total
    metrics: Figures
    final: bool
    role: Role = "evaluator"  # who measured; or worker `index` with a loop of its own (`asgd.connect`)
    index: Index = 0
    incarnation: Incarnation = 0
    error: Text = ""  # why there are no metrics
    best: BestReport | None = None
    trouble: Text = ""  # why it is not kept


class Bye(Message):
    """A member leaves, or its parent process says that it died (`lost`)."""

    role: Role
    index: Index
    incarnation: Incarnation
    lost: bool = False
    reason: Name = ""


class Failed(Message):
    """Worker `index` ends, for the user's code has raised at `place` (`train.py:12`) before it had pushed anything.

    Answered by Done, whose body says so when that has happened to every worker: then no restart mends it.
    """

    index: Index
    incarnation: Incarnation
    place: Name


class Command(Message):
    """From `asgd run`, the operator or a person: status | stop | save; from the evaluator: buffers | saves."""

    verb: Name
    argument: Name = ""


class Done(Message):
    """Plain acknowledgement; `body` is JSON for `status`, a msgpack list of float32 vectors for `buffers`
    and of `SaveReport` for `saves`, and not empty to the worker whose failure was everybody's."""

    body: bytes = b""


class Fault(Message):
    """A request that cannot be served. Its code: hello | session | protocol | version (the peer's program is another
    one) | job | layout (another model, data or optimizer) | fenced | order | stopped | bug (of the server) |
    refused:<reason> (it cannot be true, or not the sender's to say)."""

    code: str
    text: str
    term: Natural = 0


AnyMessage = (
    Hello | Welcome | Init | Exchange | Pull | Reply | Lease | Granted | Beat | Beaten | Evaluated | Bye | Command
    | Done | Fault | Gathered | Decided | Question | Judged | Failed
)  # fmt: skip

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[AnyMessage] = msgspec.msgpack.Decoder(AnyMessage)
_PREFIX = bytes([PROTOCOL])


def encode(message: Message) -> bytes:
    """The header frame of a message."""
    return _PREFIX + _encoder.encode(message)


def decode(frame: bytes | memoryview) -> AnyMessage:
    """The message of a header frame. Raises VersionMismatch on another version, ProtocolError on a malformed header."""
    view = memoryview(frame)
    if len(view) == 0:
        raise ProtocolError("malformed header: empty; a message is a header and at most one frame of payload")
    if view[0] != PROTOCOL:
        raise VersionMismatch(f"peer speaks protocol {view[0]}, this version speaks {PROTOCOL}")
    try:
        return _decoder.decode(view[1:])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
        raise ProtocolError(f"malformed header: {error}") from error
