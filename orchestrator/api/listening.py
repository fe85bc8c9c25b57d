"""Listening sockets: bound here, or handed over by systemd, before anything else of a process is begun."""

from __future__ import annotations

import errno
import socket

from orchestrator.errors import InvalidRequest
from orchestrator.settings import handed_over, host_port

BACKLOG = 1024


def take_listener(address: str) -> socket.socket:
    """Taken first, so that a second start on the same port disturbs nothing. One that was handed over is held by others
    as well: whoever connects while we are away waits in it, instead of being refused."""
    if (number := handed_over()) is not None:
        listener = socket.socket(fileno=number)
        listener.set_inheritable(False)
        return listener
    return listen(address)


def listen(address: str) -> socket.socket:
    """Raises InvalidRequest("cannot_listen")."""
    host, port = host_port(address)
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        reasons = {errno.EADDRINUSE: "another process listens there", errno.EADDRNOTAVAIL: "it is no address of ours"}
        raise InvalidRequest(
            "cannot_listen",
            f"cannot listen on {address} ({reasons.get(error.errno or 0, error.strerror)}): "
            "stop what is there, or choose another (--port, `listen:`, `agent_listen:`)",
        ) from error


def base_url(listener: socket.socket) -> str:
    host, port = listener.getsockname()[:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
