"""The page of a job: a pure model of what people look at, a server that shows it, and what a run leaves of it.

Depends on the spec's types and on the lines of a report; nothing here is imported by what trains.
"""

DEFAULT = "127.0.0.1:0"
"""Where a page is served: on any free port, for this machine alone."""
OFF = "off"
"""Nowhere."""
