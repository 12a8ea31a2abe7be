"""Addresses and interfaces of this machine; every machine has loopback."""

import os
import socket

import psutil
import pytest

from vrl.network import own_address, set_gloo_interface


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
