"""Renders an `AsgdJob` as the Kubernetes objects that run it: pure, one file a child, no API client.

`children` is the whole interface. Whether and when an object is applied, kept as it is or removed is decided
in `plan`; here stands only what each of them looks like for a given spec.
"""

from asgd_operator.render.assemble import children, config_name
from asgd_operator.render.model import Children, Keys, Manifest, Owner, Peer, Settings

__all__ = ["Children", "Keys", "Manifest", "Owner", "Peer", "Settings", "children", "config_name"]
