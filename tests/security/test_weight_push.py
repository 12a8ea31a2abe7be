"""Attacks on a weight push: strangers at its store, and weights that arrive in another order."""

import socket
from collections.abc import Callable

import psutil
import pytest
import torch

from vrl.config import PushConfig
from vrl.errors import WeightPushError
from vrl.network import own_address
from vrl.weights.sender import EngineClient, GlooSender, differences
from vrl.weights.wire import digest_of, join_store, open_store, value_digest


def listening() -> set[tuple[str, int]]:
    """Return the addresses at which this process accepts connections."""
    found = psutil.Process().net_connections(kind="tcp")
    return {(one.laddr.ip, one.laddr.port) for one in found if one.status == psutil.CONN_LISTEN}


@pytest.mark.parametrize("address", ["127.0.0.1", "127.0.0.2", own_address()])
def test_the_store_listens_at_one_address_and_nowhere_else(address: str):
    before = listening()
    store = open_store(address, 5)
    assert listening() - before == {(address, store.port)}
    join_store(address, store.port, 5).set("key", "value")
    assert store.get("key") == b"value"
    others = {"127.0.0.1", "127.0.0.3", own_address()} - {address}
    for other in others:
        with pytest.raises(OSError, match="refused"), socket.create_connection((other, store.port), timeout=5):
            raise AssertionError("connected")


def test_an_address_of_another_machine_is_an_error_of_ours():
    with pytest.raises(WeightPushError, match=r"weight push: cannot listen on 192\.0\.2\.1"):
        open_store("192.0.2.1", 5)


def test_the_name_of_a_group_cannot_be_guessed():
    names: list[str] = []

    class Client(EngineClient):
        def begin_init(self, init_info: dict) -> list:
            names.append(init_info["name"])
            return []

    client = Client([], timeout_s=5, workers_per_engine=1)
    for _ in range(2):
        GlooSender(client, iter(()), "127.0.0.1", PushConfig().timeout_s)  # pyright: ignore[reportArgumentType]
    assert len(set(names)) == 2 and all(len(name) == 32 for name in names)


def swapped(weights: torch.Tensor, first: int, second: int, dim: int) -> torch.Tensor:
    order = list(range(weights.shape[dim]))
    order[first], order[second] = order[second], order[first]
    return weights.index_select(dim, torch.tensor(order))


WEIGHTS = torch.randn(1030, 12, generator=torch.Generator().manual_seed(0))
PERMUTED: dict[str, Callable[[torch.Tensor], torch.Tensor]] = {
    "two rows": lambda w: swapped(w, 3, 4, 0),
    "rows far apart": lambda w: swapped(w, 0, 1024, 0),
    "two columns": lambda w: swapped(w, 0, 1, 1),
    "all rows": lambda w: w.flip(0),
    "all columns": lambda w: w.flip(1),
    "everything": lambda w: w.flatten()[torch.randperm(w.numel())].view_as(w),
    "rolled rows": lambda w: w.roll(1, 0),
    "rolled values": lambda w: w.flatten().roll(1).view_as(w),
    "another shape": lambda w: w.reshape(w.shape[1], -1),
    "transposed": lambda w: w.t(),
    "shifted by a row of zeros": lambda w: torch.cat([torch.zeros(1, w.shape[1]), w]),
    "two values": lambda w: w.index_put((torch.tensor([5, 7]), torch.tensor([2, 3])), w[[7, 5], [3, 2]]),
}


@pytest.mark.parametrize("name", PERMUTED)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_permuted_weights_do_not_verify(name: str, dtype: torch.dtype):
    weights = WEIGHTS.to(dtype)
    permuted = PERMUTED[name](weights)
    assert value_digest(permuted) != value_digest(weights)
    assert differences({"w": digest_of(weights)}, {"w": "w"}, [{"w": value_digest(permuted)}]) == ["w"]
    assert differences({"w": digest_of(weights)}, {"w": "w"}, [{"w": value_digest(weights.clone())}]) == []


def test_a_permuted_bias_does_not_verify():
    bias = WEIGHTS.flatten()
    digests = {value_digest(swapped(bias, 0, other, 0)) for other in (1, 2, 64, 4096, 8192)}
    assert len(digests | {value_digest(bias)}) == 6


def test_parts_of_a_fused_parameter_that_changed_places_do_not_verify():
    q, k, v = (torch.randn(4, 8) for _ in range(3))
    sent = {"q": digest_of(q), "k": digest_of(k), "v": digest_of(v)}
    names = dict.fromkeys(sent, "qkv")
    assert differences(sent, names, [{"qkv": value_digest(torch.cat([q, k, v]))}]) == []
    for parts in ([k, q, v], [q, v, k], [v, k, q]):
        assert differences(sent, names, [{"qkv": value_digest(torch.cat(parts))}]) == ["qkv"]
