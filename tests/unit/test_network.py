"""Addresses and interfaces of this machine; every machine has loopback."""

import os
import socket
import tempfile
from pathlib import Path

import psutil
import pytest

from vrl.network import own_address, set_gloo_interface, socket_folder


def interface_of(address: str) -> str:
    (name,) = (n for n, own in psutil.net_if_addrs().items() if address in [one.address for one in own])
    return name


def test_a_peer_on_loopback_is_reached_from_loopback():
    assert own_address("127.0.0.1") == "127.0.0.1"


def test_without_a_route_the_host_name_gives_the_address(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(socket, "gethostname", lambda: "localhost")
    assert own_address("255.255.255.255") == "127.0.0.1"  # a broadcast address accepts no connection


def test_gloo_listens_on_the_interface_that_leads_to_its_peer(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("GLOO_SOCKET_IFNAME", raising=False)
    set_gloo_interface("127.0.0.1")
    assert os.environ.pop("GLOO_SOCKET_IFNAME") == interface_of("127.0.0.1")


def test_an_interface_that_is_set_already_stays(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "ib0")
    set_gloo_interface("127.0.0.1")
    assert os.environ["GLOO_SOCKET_IFNAME"] == "ib0"


@pytest.mark.parametrize(("length", "short"), [(10, True), (39, True), (40, False), (80, False)])
def test_sockets_go_to_a_folder_whose_name_is_short_enough(monkeypatch: pytest.MonkeyPatch, length: int, short: bool):
    """107 bytes are a socket's path; Ray needs 68 of them below the folder."""
    monkeypatch.delenv("RAY_TMPDIR", raising=False)
    folder = "/" + "x" * (length - 1)
    monkeypatch.setattr(tempfile, "tempdir", folder)
    assert socket_folder() == Path(folder if short else "/tmp")
    monkeypatch.setenv("RAY_TMPDIR", "/elsewhere")
    assert socket_folder() == Path("/elsewhere")


def test_a_path_of_107_bytes_is_the_longest_of_a_socket():
    with tempfile.TemporaryDirectory(dir="/tmp") as short:
        longest = f"{short}/".ljust(107, "z")
        with socket.socket(socket.AF_UNIX) as one:
            one.bind(longest)
        with socket.socket(socket.AF_UNIX) as one, pytest.raises(OSError, match="too long"):
            one.bind(f"{longest}z")
