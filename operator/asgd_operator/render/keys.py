"""The Secret with a job's CURVE keys: one file for servers, one for clients, so workers never hold the
servers' secret; and the token of its page.

Rendered only from keys that were just made. When the Secret exists already there is nothing to render: it is
created once and never overwritten, or running pods and restarted ones would not understand each other.
"""

from __future__ import annotations

import json

from asgd_operator import constants as c
from asgd_operator.render import names
from asgd_operator.render.model import Keys, Manifest, Scope
from asgd_operator.render.object_meta import metadata


def keys(scope: Scope, made: Keys) -> Manifest:
    """The Secret from freshly made keys."""
    client = {
        "serverPublic": made.server_public,
        "clientPublic": made.client_public,
        "clientSecret": made.client_secret,
    }
    server = client | {"serverSecret": made.server_secret}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "Opaque",
        "metadata": metadata(scope, names.keys(scope.owner)),
        "immutable": True,
        "stringData": {
            c.SERVER_KEYS: json.dumps(server, sort_keys=True),
            c.CLIENT_KEYS: json.dumps(client, sort_keys=True),
            c.PAGE_TOKEN: made.page_token,
        },
    }
