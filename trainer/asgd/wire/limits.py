"""How much anybody may send, and how much a port holds before it knows who speaks: every such number stands here.

Two kinds. Sizes of frames and queues bound memory: they follow from what the protocol itself sends (`partition.CHUNK`),
and both ends hold to them. Ranges of numbers keep sums in 63 bits: a counter to which the largest accepted value was
added 2^32 times still fits. Types in `messages.py` and checks in `server/admission.py` use them; nobody else has
limits of his own.
"""

from __future__ import annotations

from asgd.wire.partition import CHUNK

# -- frames and messages ---------------------------------------------------------------------------

PAYLOAD_MOST = 8 * CHUNK + (1 << 16)
"""Bytes of the largest payload: a top-k chunk that keeps every element."""
HEADER_MOST = 1 << 24
"""Bytes of the largest header: a Hello that describes 200,000 tensors, or a Beat with a model's float buffers."""
FRAME_MOST = max(PAYLOAD_MOST, HEADER_MOST) + (1 << 12)
"""Bytes of a frame of ZeroMQ as it comes, CURVE's box around it included. A longer one ends its connection."""
FRAMES_MOST = 2
"""Frames of a message behind the sender's identity: header, payload."""
QUEUED_MOST = 16
"""Messages that wait for one peer, or of one peer, in ZeroMQ. Peers have at most a window of chunks under way and ask
again when an answer is lost, so that more only costs memory."""
TEXT_MOST = 1 << 12
"""Characters of a sentence for people."""
TENSORS_MOST = HEADER_MOST - (1 << 16)
BUFFERS_MOST = HEADER_MOST - (1 << 16)
"""Bytes of the two fields that make a header large (`Hello.tensors`, `WorkerReport.buffers`)."""
DIGEST_MOST = 1 << 17
"""Bytes of `Hello.digest`: a few thousand, unless hundreds of parameters are frozen."""
DIGEST_PARTS_MOST = 400
RULE_MOST = 1 << 22
"""Bytes of `Hello.rule`: a few hundred, and the parameters' names where there are several groups."""

# -- connections -----------------------------------------------------------------------------------

STRANGERS_MOST = 256
"""Connections to a ZeroMQ port of which no message has come yet. NB: all processes of a job may be among them for a
moment, after a server's restart."""
BULK_STRANGERS_MOST = 64
"""Connections to a bulk port that have not shown their token yet: they send 16 bytes at once, and hold no more."""
STRANGER_SECONDS = 5.0
"""How long the latter may take."""
HANDSHAKE_SECONDS = 10.0
"""How long a connection to a ZeroMQ port may take to show its keys."""
HELD_MOST = 1 << 26
"""Bytes that ZeroMQ may hold of all strangers together, and of one peer that was heard before: four times the largest
frame, and above what `QUEUED_MOST` messages with chunks of float32 make."""
BACKLOG = 256
"""Connections that wait in the kernel to be accepted."""
ACCEPTED_MOST = 64
"""Connections that are accepted in one turn, so that a flood of them stops nobody's exchange."""

# -- numbers ---------------------------------------------------------------------------------------

WORKERS_MOST = 10_000
"""Workers and shards are numbered below this (`maxReplicas` and `shards` in the CRD)."""
TERM_MOST = 1 << 22
"""Starts of one server. `delta.py` numbers 2^40 states in each."""
STARTS_MOST = 16
"""Earlier starts of a server of which a peer still tells what it has seen."""
INCARNATION_MOST = 1 << 62
"""Nanoseconds since 1970, up to the year 2116."""
COUNT_MOST = 1 << 26
"""Samples and steps of one push."""
VERSION_MOST = 1 << 48
"""Versions, sequence and request numbers, samples of a dataset: what grows by one at a time."""
TOTAL_MOST = 1 << 60
"""Samples of a whole job."""
SIZE_MOST = 1 << 44
"""Parameters of a model. What this server has memory for is far less (`admission.py`)."""
EPOCH_MOST = 1 << 32
VISITS_MOST = 1 << 16
"""Ranges of samples in one push: at most one for each batch since the last."""
FIGURE_MOST = float(1 << 53)
"""Magnitude of a strategy's figures: up to here a float tells whole numbers apart."""
FIGURES_MOST = 64
"""Figures of one push, names of metrics, keys of a report."""
SUSPECTS_MOST = 256
"""Workers that a shard names for their pushes."""
NAME_MOST = 256
"""Characters of a name: job, node, metric, segment, reason."""
