"""Whether everything that the operator lives by can be watched, as the newest looks at the API server have told.

A watch of a kind that the API server does not know yet, or no longer lets us see, is silent like one on which nothing
happens. So each kind is asked for in each place, again and again, whatever the watches say. Pure: `run.py` asks.
"""

from __future__ import annotations

from dataclasses import dataclass, field

SILENT_SECONDS = 60.0
"""An API server that has answered nothing for so long is told of."""

Place = tuple[str, str]
"""(kind, namespace); the namespace is empty for the whole cluster."""


@dataclass
class Watching:
    """Fed by `told` and `silent`; `why_not` and `anew` are what follows."""

    _blind: dict[Place, str] = field(default_factory=dict)
    _heard: float | None = None
    _anew: Place | None = None

    def told(self, place: Place, refusal: str, now: float) -> None:
        """The API server has answered for a kind; `refusal`: why it cannot be listed, empty where it can."""
        self._heard = now
        if refusal:
            self._blind[place] = refusal
        elif self._blind.pop(place, None) is not None:
            self._anew = place

    def why_not(self, now: float) -> str:
        """Why nobody should count on the watches; empty when all is well."""
        if self._blind:
            (kind, namespace), refusal = min(self._blind.items())
            return f"{kind}s cannot be watched{_within(namespace)}: {refusal}"
        if self._heard is None:
            return "the API server has not answered yet"
        silent = now - self._heard
        return f"the API server has not answered for {silent:.0f} s" if silent > SILENT_SECONDS else ""

    @property
    def anew(self) -> str:
        """What can be watched again and could not meanwhile: its watch is dead, and all have to begin anew."""
        return f"{self._anew[0]}s can be watched{_within(self._anew[1])} again" if self._anew else ""

    def begun(self) -> None:
        """All watches begin now."""
        self._anew = None


def _within(namespace: str) -> str:
    return f" in namespace {namespace}" if namespace else ""
