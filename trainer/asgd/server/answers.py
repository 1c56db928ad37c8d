"""What a server's core answers, and whom."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from typing import Any

from asgd.wire.messages import Message

Sender = Hashable
"""Who asked: opaque, whatever the driver sends answers by."""
PRIMARY: Sender = "shard 0"
"""As a sender and a receiver: shard 0, for the others."""
Answer = tuple[Sender, Message, Any]
"""(to, message, body): the body, weights for the most part, is a view: send or copy it before the next call."""
Answers = Sequence[Answer]
