"""Where a page is served: an address with or without a port, and whether it needs a token."""

from __future__ import annotations

import ipaddress
import secrets
import socket

from asgd.errors import UserError
from asgd.page import DEFAULT, OFF

FILE = "page.address"
"""In a run's folder while its page is served: the address, with the token if there is one."""


def listen(address: str, token: str = "", option: str = "--page") -> tuple[socket.socket, str, str]:
    """A socket that listens at `address` (HOST:PORT, port 0: any free one), the page's address, and its token.

    `token` empty: a new one; on a loopback address it is empty. `option`: who has given the address. Raises UserError.
    """
    host, colon, port = address.rpartition(":")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UserError(f"{option}: {address!r} must be HOST:PORT, as {DEFAULT} (0: any free port), or {OFF}")
    host = host.strip("[]")
    try:
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, int(port)), family=family, backlog=64)
    except OSError as error:
        raise UserError(f"{option}: {address} cannot be served: {error.strerror}") from error
    token = "" if loopback(host) else token or secrets.token_urlsafe(18)
    shown = f"[{host}]" if ":" in host else host
    if host in ("0.0.0.0", "::"):
        shown = socket.gethostname()
    url = f"http://{shown}:{listener.getsockname()[1]}/"
    return listener, url + (f"?token={token}" if token else ""), token


def loopback(host: str) -> bool:
    """Whether only this machine reaches `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
