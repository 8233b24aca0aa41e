"""Where to listen. It is taken before the models are loaded: that a port is somebody else's should
not take minutes to find out. Who connects meanwhile is refused."""

from __future__ import annotations

import errno
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from rstitch.errors import BadRequest

TCP = (socket.SOCK_STREAM, socket.IPPROTO_TCP)
"""The protocol by name: asyncio sends small pieces at once only where it can read that."""
ABSENT = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
"""localhost may have an address in IPv6 where the machine has none."""
WHY = {
    errno.EADDRINUSE: "where something listens already; take another with --port",
    errno.EACCES: "which this user may not take; take one above 1023 with --port",
}


@contextmanager
def taken(host: str, port: int) -> Iterator[list[socket.socket]]:
    """Sockets for all addresses of that name, with one port; nobody listens at them yet. They are
    closed at the end. Raises BadRequest where there is no such address, or it is not to be had."""
    sockets: list[socket.socket] = []
    with ExitStack() as held:
        for family, address in _addresses(host, port):
            port = sockets[0].getsockname()[1] if sockets else port
            try:
                one = held.enter_context(socket.socket(family, *TCP))
                _bind(one, (address[0], port, *address[2:]))
            except OSError as error:
                if error.errno in ABSENT:
                    continue
                raise refused(port, error) from None
            sockets.append(one)
        if not sockets:
            raise BadRequest(
                f"host is {host}, which is no address of this machine; name one with --host"
            )
        yield sockets


def refused(port: int, error: OSError) -> BadRequest:
    told = WHY.get(error.errno or 0, f"which is not to be had: {error.strerror}")
    return BadRequest(f"port is {port}, {told}")


def _addresses(host: str, port: int) -> list[tuple[int, tuple[Any, ...]]]:
    """Families and addresses, each once."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except (OSError, UnicodeError) as error:
        told = f"host is {host}, which has no address ({error}); name another with --host"
        raise BadRequest(told) from None
    return list(dict.fromkeys((family, address) for family, _, _, _, address in found))


def _bind(one: socket.socket, address: tuple[Any, ...]) -> None:
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # right after another server's end
    if one.family == socket.AF_INET6:  # IPv4 has a socket of its own
        one.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
    one.bind(address)
