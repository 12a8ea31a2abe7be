"""Finds addresses: the one at which other machines reach this one, and a folder short enough for unix sockets.

Sends nothing; resolves only the host's own name.
"""

import os
import socket
import tempfile
from pathlib import Path

import psutil

_MAX_SOCKET = 107  # bytes of a unix socket's path on Linux
_RAY_SOCKET = len("/ray/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store")
_SHORT = Path("/tmp")
_OUTSIDE = "192.0.2.1"  # a documentation address: selects the default route


def own_address(peer: str = _OUTSIDE) -> str:
    """Return this machine's address on the route to `peer`; without a route, what its name resolves to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return socket.gethostbyname(socket.gethostname())
        return probe.getsockname()[0]


def socket_folder() -> Path:
    """Return the folder of temporary files, or /tmp if a unix socket of Ray below that folder cannot be bound."""
    folder = Path(os.environ.get("RAY_TMPDIR") or tempfile.gettempdir())
    return folder if len(os.fsencode(folder)) + _RAY_SOCKET <= _MAX_SOCKET else _SHORT


def set_gloo_interface(peer: str) -> None:
    """Make gloo groups of this process listen where `peer` can reach them, unless GLOO_SOCKET_IFNAME is set.

    By default gloo takes what the host's name resolves to, which is loopback on some systems.
    """
    here = own_address(peer)
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.family == socket.AF_INET and address.address == here for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
