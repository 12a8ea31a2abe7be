"""Finds the address at which other machines reach this one. Sends nothing; resolves only the host's own name."""

import os
import socket

import psutil

_OUTSIDE = "192.0.2.1"  # a documentation address: selects the default route


def own_address(peer: str = _OUTSIDE) -> str:
    """Return this machine's address on the route to `peer`; without a route, what its name resolves to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return socket.gethostbyname(socket.gethostname())
        return probe.getsockname()[0]


def set_gloo_interface(peer: str) -> None:
    """Make gloo groups of this process listen where `peer` can reach them, unless GLOO_SOCKET_IFNAME is set.

    By default gloo takes what the host's name resolves to, which is loopback on some systems.
    """
    here = own_address(peer)
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.family == socket.AF_INET and address.address == here for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
