"""Makes CURVE keys for a job. ZeroMQ's CURVE keys are Curve25519 pairs in Z85, so no zmq is needed in the
operator.

Not part of `render`, because making keys is not pure; the engine calls this once for a job without a Secret.
"""

from __future__ import annotations

import secrets

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey

from asgd_operator.render.model import Keys

_Z85 = "0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ.-:+=^!/*?&<>()[]{}@%$#"


def generate() -> Keys:
    """Two new key pairs, the servers' and the clients' of one job, and the token of its page."""
    server_public, server_secret = pair()
    client_public, client_secret = pair()
    return Keys(server_public, server_secret, client_public, client_secret, secrets.token_urlsafe(18))


def pair() -> tuple[str, str]:
    """A new (public, secret) pair, 40 characters of Z85 each."""
    secret = secrets.token_bytes(32)
    public = X25519PrivateKey.from_private_bytes(secret).public_key().public_bytes_raw()
    return z85(public), z85(secret)


def z85(data: bytes) -> str:
    """ZeroMQ RFC 32: each 4 bytes as 5 printable characters. `len(data)` is a multiple of 4."""
    words = (int.from_bytes(data[i : i + 4], "big") for i in range(0, len(data), 4))
    return "".join(_Z85[word // 85**power % 85] for word in words for power in (4, 3, 2, 1, 0))
