"""Seals what goes over a bulk lane: AES-256-GCM under keys that both ends agreed over the CURVE control channel.

Each end contributes 32 random bytes (Hello, Welcome); HKDF-SHA256 makes one key a direction of them, bound to the
job, the shard and the peer. The nonce is a counter that never goes over the wire: a box that was replayed, dropped,
reordered or sent back to its sender does not open. After 2^16 boxes a key is replaced by one derived from it, far
below what AES-GCM bears. Why so, and what it does not protect: docs/decisions/005-sealed-bulk-lane.md. The cipher is
`cryptography`'s (OpenSSL with AES-NI, about 10 GB/s a core), loaded when the first session is sealed.
"""

from __future__ import annotations

from typing import Any

from asgd.errors import ProtocolError

TAG = 16
"""Bytes that a box is longer than what is in it."""
RANDOM = 32
"""Bytes that each end contributes."""
REKEY = 1 << 16
"""Boxes under one key: 64 GiB of full chunks."""


def available() -> bool:
    """Whether the cipher is installed; without it sealed jobs stay on the ZeroMQ lane."""
    try:
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM
    except ImportError:
        return False
    return hasattr(AESGCM, "encrypt_into")


def session_keys(mine: bytes, theirs: bytes, about: str) -> tuple[bytes, bytes]:
    """(worker to server, server to worker) keys of a session; `mine` is the worker's random, `theirs` the server's.

    `about` names the session (job, shard, peer, incarnation). Raises ProtocolError when a random is too short.
    """
    if len(mine) != RANDOM or len(theirs) != RANDOM:
        raise ProtocolError(f"a sealed session needs {RANDOM} random bytes from each end")
    both = _derive(mine + theirs, f"asgd bulk lane 1: {about}".encode(), 64)
    return both[:32], both[32:]


def _derive(secret: bytes, about: bytes, length: int) -> bytes:
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.kdf.hkdf import HKDF

    return HKDF(SHA256(), length, salt=None, info=about).derive(secret)


class _Direction:
    """One direction's key and count of boxes."""

    def __init__(self, key: bytes) -> None:
        self._key = key
        self._count = 0
        self._cipher: Any = None

    def step(self) -> tuple[Any, bytes]:
        """The cipher and the nonce of the next box."""
        from cryptography.hazmat.primitives.ciphers.aead import AESGCM

        if self._count % REKEY == 0:
            if self._count:
                self._key = _derive(self._key, b"asgd bulk lane 1: next key", 32)
            self._cipher = AESGCM(self._key)
        nonce = self._count.to_bytes(12, "big")
        self._count += 1
        return self._cipher, nonce


class Seal:
    """Both directions of one connection, seen from one end. `about` goes with a box unencrypted but authenticated."""

    def __init__(self, sending: bytes, receiving: bytes) -> None:
        self._out, self._in = _Direction(sending), _Direction(receiving)

    def close_box(self, about: bytes, plain: Any, box: Any) -> None:
        """Encrypts `plain` into `box`, `TAG` bytes longer."""
        cipher, nonce = self._out.step()
        cipher.encrypt_into(nonce, plain, about, box)

    def open_box(self, about: bytes, box: Any, plain: Any) -> None:
        """Decrypts `box` into `plain`, `TAG` bytes shorter. Raises ProtocolError when it is not the next box.

        Then `plain` holds nothing of use, and the connection must end: its count is not the sender's any more.
        """
        from cryptography.exceptions import InvalidTag

        cipher, nonce = self._in.step()
        try:
            cipher.decrypt_into(nonce, box, about, plain)
        except InvalidTag as error:
            raise ProtocolError("a sealed frame was forged, replayed or damaged") from error
