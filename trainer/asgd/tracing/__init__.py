"""OpenTelemetry spans, off unless the standard variables name a collector; see docs/how-to/tracing.md.

`ids` names the spans of an exchange on both of its sides without a byte on the wire, `settings` reads the variables,
`spans` is the library behind a bounded queue. Nothing here is imported on the way of an exchange that is not traced.
"""
