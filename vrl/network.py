"""Which of this machine's addresses others reach it by. Sends nothing, resolves no name but the host's own."""

import os
import socket

import psutil

_OUTSIDE = "192.0.2.1"  # a documentation address: the route that leads out


def own_address(peer: str = _OUTSIDE) -> str:
    """The address of this machine on the route to `peer`; without a route, what its name resolves to."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((peer, 9))
        except OSError:
            return socket.gethostbyname(socket.gethostname())
        return probe.getsockname()[0]


def set_gloo_interface(peer: str) -> None:
    """Let the gloo groups of this process listen where `peer` can reach them, unless GLOO_SOCKET_IFNAME says where.

    By default gloo takes what the host's name resolves to, which is loopback where a system is installed that way.
    """
    here = own_address(peer)
    for name, addresses in psutil.net_if_addrs().items():
        if any(address.family == socket.AF_INET and address.address == here for address in addresses):
            os.environ.setdefault("GLOO_SOCKET_IFNAME", name)
