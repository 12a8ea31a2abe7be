import threading

import pytest
import torch

from vrl.errors import WeightPushError
from vrl.weights.wire import (
    PacketGroup,
    add_digests,
    digest_of,
    join_store,
    open_store,
    pack,
    shard_digest,
    unpack,
    value_digest,
)


def tensors() -> list[tuple[str, torch.Tensor]]:
    torch.manual_seed(0)
    return [
        ("a", torch.randn(3, 5)),
        ("b", torch.randn(7).to(torch.bfloat16)),  # 14 bytes: the next tensor is not aligned to 4
        ("c", torch.randn(4, 4).t()),
    ]


def test_digest_is_invariant_to_how_engines_store_weights():
    q, k = torch.randn(4, 6), torch.randn(2, 6)
    fused = digest_of(q).above(digest_of(k))
    padded = torch.cat([torch.cat([q, k]), torch.zeros(2, 6)])
    assert value_digest(padded) == fused.value and fused.rows == 6
    assert value_digest(padded.t().contiguous().t()) == fused.value
    assert value_digest(torch.tensor([-0.0, 1.5])) == value_digest(torch.tensor([0.0, 1.5]))
    convolution = torch.randn(5, 3, 2, 4, 4)  # engines keep it as a matrix
    assert value_digest(convolution) == value_digest(convolution.flatten(1))
    assert value_digest(torch.zeros(0, 4)) == value_digest(torch.zeros(0)) == 0
    assert value_digest(torch.tensor(2.5)) == value_digest(torch.tensor([2.5]))
    half = torch.randn(64).to(torch.bfloat16)
    assert value_digest(half) == value_digest(half.float())


def test_digest_detects_the_smallest_change_of_one_value():
    weights = torch.randn(1000)
    changed = weights.clone()
    changed[617] = torch.nextafter(changed[617], torch.tensor(2.0**20))
    assert value_digest(weights) != value_digest(changed)
    changed[617] = -weights[617]
    assert value_digest(weights) != value_digest(changed)


def test_digest_in_chunks_is_the_digest_of_the_whole(monkeypatch: pytest.MonkeyPatch):
    weights = torch.randn(100)
    whole = value_digest(weights)
    monkeypatch.setattr("vrl.weights.wire._CPU_CHUNK", 7)
    assert value_digest(weights) == whole


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_digests_of_tensor_parallel_shards_add_up_to_that_of_the_whole(workers: int):
    q, k, v, out = torch.randn(16, 6), torch.randn(8, 6), torch.randn(8, 6), torch.randn(5, 16)
    whole = digest_of(q).above(digest_of(k)).above(digest_of(v)).value
    rows = [torch.cat([part.chunk(workers)[rank] for part in (q, k, v)]) for rank in range(workers)]
    sizes = [part.shape[0] // workers for part in (q, k, v)]
    shards = [shard_digest(shard, sizes, rank, workers) for rank, shard in enumerate(rows)]
    assert add_digests(shards) == whole
    if workers > 1:
        assert add_digests([shard_digest(shard, sizes, 0, workers) for shard in rows]) != whole
        assert add_digests(shard_digest(s, sizes, r, workers) for r, s in enumerate(reversed(rows))) != whole
    columns = list(enumerate(out.chunk(workers, dim=1)))
    assert add_digests(value_digest(s, column=rank * s.shape[1]) for rank, s in columns) == value_digest(out)


def test_packets_are_bounded_and_unpack_bit_for_bit():
    packets = list(pack(tensors(), bucket_bytes=80))
    assert [[header.name for header in packet.headers] for packet in packets] == [["a", "b"], ["c"]]
    for (name, sent), (received_name, received) in zip(
        tensors(), [item for packet in packets for item in unpack(packet)], strict=True
    ):
        assert name == received_name
        assert received.dtype == sent.dtype
        assert torch.equal(received, sent)


def test_a_tensor_larger_than_the_bucket_gets_its_own_packet():
    packets = list(pack(tensors(), bucket_bytes=10))
    assert [len(packet.headers) for packet in packets] == [1, 1, 1]


def test_a_flipped_bit_names_the_tensor():
    (packet,) = pack(tensors())
    packet.payload[61] ^= 1  # 60 bytes of "a", then "b"
    with pytest.raises(WeightPushError, match=r"^b: got bytes with checksum"):
        unpack(packet)


def test_packets_reach_every_receiver_and_the_stream_ends():
    store = open_store("127.0.0.1", 20)
    received: dict[int, list[list[str]]] = {1: [], 2: []}

    def receive(rank: int) -> None:
        group = PacketGroup(join_store("127.0.0.1", store.port, 20), "t", rank=rank, world_size=3, timeout_s=20)
        while (packet := group.receive()) is not None:
            received[rank].append([f"{name} {float(tensor.float().sum()):.4f}" for name, tensor in unpack(packet)])

    threads = [threading.Thread(target=receive, args=(rank,)) for rank in (1, 2)]
    for thread in threads:
        thread.start()
    group = PacketGroup(store, "t", rank=0, world_size=3, timeout_s=20)
    for packet in pack(tensors(), bucket_bytes=80):
        group.send(packet)
    group.send(None)
    for thread in threads:
        thread.join(20)
    sums = [f"{name} {float(tensor.float().sum()):.4f}" for name, tensor in tensors()]
    assert received == {1: [sums[:2], sums[2:]], 2: [sums[:2], sums[2:]]}


def test_a_missing_receiver_raises_within_the_timeout():
    store = open_store("127.0.0.1", 1)
    with pytest.raises(WeightPushError, match="got no group of 2 in 1 s"):
        PacketGroup(store, "t", rank=0, world_size=2, timeout_s=1)
