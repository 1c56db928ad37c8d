"""What a benchmark found, as plain values: samples by round, lines, tables, the page. Written to and read from JSON."""

from __future__ import annotations

from msgspec import Struct, field


class Sample(Struct, rename="camel", frozen=True, omit_defaults=True):
    """One system in one round."""

    value: float
    """In the table's unit."""
    cpu_seconds: float | None = None
    """CPU-seconds of all processes for each unit of work."""
    memory_mib: float | None = None
    """Memory of all processes."""


class Line(Struct, rename="camel", frozen=True, omit_defaults=True):
    """One system of a table: a sample (or None, when it failed) for each round, in the order of the rounds."""

    name: str
    samples: list[Sample | None] = []
    failure: str = ""
    """Why there are no samples, or fewer than rounds."""
    more: dict[str, str] = {}
    """Further columns: {heading: text}."""


class Table(Struct, rename="camel", frozen=True, omit_defaults=True):
    """Systems side by side. `reference` is whose advantage over each line the first column tells."""

    title: str
    unit: str
    lines: list[Line]
    reference: str = ""
    less_is_better: bool = False
    note: str = ""
    log: bool = False
    """Whether the plot's axis is logarithmic."""


class Case(Struct, rename="camel", frozen=True):
    """What one case found, or why it could not run."""

    name: str
    about: str
    seconds: float
    tables: list[Table] = []
    failure: str = ""


class Page(Struct, rename="camel", frozen=True):
    """A whole benchmark."""

    version: str
    machine: dict[str, str]
    started: str
    seconds: float
    quick: bool
    rounds: int
    cases: list[Case] = field(default_factory=list)
