"""Spans for a process, if it is told of a collector and has the library."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from asgd.tracing.settings import Warn, wanted

if TYPE_CHECKING:
    from asgd.tracing.spans import Attributes, Spans

EXCHANGES = 0.01
"""Share of a job's exchanges that is traced, where nobody says otherwise: there are hundreds a second."""
ALL = 1.0


def open_spans(service: str, about: Attributes, warn: Warn, share: float = EXCHANGES) -> Spans | None:
    """None: this process is not traced, for nobody asked for it or for the reason that `warn` is told."""
    settings = wanted(os.environ, share, warn)
    if settings is None:
        return None
    try:
        from asgd.tracing.spans import Spans  # 0.2 s, for those alone who are traced
    except ImportError as error:
        warn(f"no spans: {error.name} is not installed (pip install 'asgd-operator[tracing]')")
        return None
    try:
        return Spans(service, about, settings, warn)
    except Exception as error:  # whatever the library says to a variable of its own: no training ends for it
        warn(f"no spans: {error}")
        return None
