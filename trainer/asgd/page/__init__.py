"""The page of a job: a pure model of what people look at, a server that shows it, and what a run leaves of it.

Depends on the spec's types and on the lines of a report; nothing here is imported by what trains.
"""
