"""The wire format of the gloo transport, and the digests that show whether weights arrived.

A packet is a bundle of named tensors of bounded size, broadcast from the sending rank to all engine workers. A header
in front lists its contents; an empty header ends the stream. Both ends use it; it knows neither models nor vLLM.
"""

import hashlib
import json
import socket
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import timedelta
from math import prod
from typing import Any, NamedTuple

import torch
from torch.distributed import (  # pyright: ignore[reportPrivateImportUsage]
    BroadcastOptions,  # pyright: ignore[reportPrivateImportUsage]
    PrefixStore,  # pyright: ignore[reportPrivateImportUsage]
    ProcessGroupGloo,
    TCPStore,  # pyright: ignore[reportPrivateImportUsage]
)

from vrl.errors import WeightPushError
from vrl.network import set_gloo_interface

_BACKLOG = 1024  # connections that engines open together
BUCKET_BYTES = 64 * 2**20  # a larger tensor gets a packet of its own
_CPU_CHUNK, _GPU_CHUNK = 2**16, 2**22  # elements hashed at a time: within a core's cache; enough for a whole GPU
_DIGEST_MODULUS = 2**63
# Odd 64-bit constants as signed integers: 2^64 over the golden ratio, and the second of MurmurHash3's finaliser.
_MIX_1 = 0x9E3779B97F4A7C15 - 2**64
_MIX_2 = 0xC4CEB9FE1A85EC53 - 2**64
_ROW = 0x5851F42D4C957F2D  # w of a digest, the multiplier of Knuth's MMIX generator


@dataclass(frozen=True, kw_only=True, slots=True)
class TensorHeader:
    """What the receiver must know about one tensor of a packet."""

    name: str
    dtype: str  # as in torch.<dtype>
    shape: tuple[int, ...]
    crc32: int  # of its bytes

    @property
    def num_bytes(self) -> int:
        return prod(self.shape) * getattr(torch, self.dtype).itemsize


@dataclass(frozen=True, kw_only=True, slots=True)
class Packet:
    """Headers and the concatenated bytes of the tensors."""

    headers: tuple[TensorHeader, ...]
    payload: torch.Tensor  # uint8 [sum of num_bytes]


class Digest(NamedTuple):
    """The digest of a tensor or of several on top of each other. A tuple, which travels to other processes."""

    value: int  # [0, 2^63)
    rows: int  # size of the first dimension

    def above(self, other: "Digest") -> "Digest":
        """Return the digest of this tensor with `other` appended along the first dimension."""
        value = (self.value + pow(_ROW, self.rows, _DIGEST_MODULUS) * other.value) % _DIGEST_MODULUS
        return Digest(value, self.rows + other.rows)


def value_digest(tensor: torch.Tensor, *, row: int = 0, column: int = 0) -> int:
    """Hash the values of a tensor and their places to [0, 2^63), regardless of dtype and of zeros at its end.

    `row`, `column`: place of the first value in the full tensor, of which this is a part: the digest of a whole is the
    sum modulo 2^63 of those of its parts, as engines shard weights. Dimensions after the first count as one.

    Our definition: sum over rows i of w^i times the sum over columns j of mix(c_j mix(x_ij)), where x is the value's
    float32 bits with -0 taken as +0, c_j an odd 64-bit constant of the column and w an odd constant. A changed value
    changes it; two values, rows or columns that change places leave it equal with a probability below 2^-40.
    """
    matrix = tensor.detach().flatten(1) if tensor.dim() > 1 else tensor.detach().reshape(-1, 1)
    columns = _column_constants(column, matrix.shape[1], matrix.device)
    powers = torch.full((len(matrix),), _ROW, dtype=torch.int64, device=matrix.device).cumprod(0)  # w^1, w^2, ...
    total = torch.zeros((), dtype=torch.int64, device=matrix.device)
    chunk = _CPU_CHUNK if matrix.device.type == "cpu" else _GPU_CHUNK
    rows = max(1, chunk // max(1, matrix.shape[1]))
    for part, power in zip(matrix.split(rows), powers.split(rows), strict=True):
        mixed = (part.to(torch.float32) + 0.0).view(torch.int32).to(torch.int64)
        mixed *= _MIX_1  # in place: memory bandwidth is the bottleneck
        mixed ^= mixed >> 29
        mixed *= columns
        mixed ^= mixed >> 32
        total += (mixed.sum(1) * power).sum()
    return int(total) * pow(_ROW, row - 1, _DIGEST_MODULUS) % _DIGEST_MODULUS


def shard_digest(tensor: torch.Tensor, sizes: Sequence[int], rank: int, world_size: int) -> int:
    """Hash a worker's shard of tensors that an engine keeps on top of each other, each split evenly by rows.

    `sizes`: rows of each of them in the shard. The digests of all shards add up to that of the whole.
    """
    digests, row = [], 0
    for part in tensor.split(list(sizes)):
        digests.append(value_digest(part, row=row + rank * len(part)))
        row += world_size * len(part)
    return add_digests(digests)


def digest_of(tensor: torch.Tensor) -> Digest:
    """Return the digest of a full tensor."""
    return Digest(value_digest(tensor), len(tensor) if tensor.dim() else 1)


def add_digests(digests: Iterable[int]) -> int:
    """Return the digest of the tensor that has these parts."""
    return sum(digests) % _DIGEST_MODULUS


def _column_constants(first: int, count: int, device: torch.device) -> torch.Tensor:
    """Return c_j, odd and without a pattern, for `count` columns from `first`."""
    columns = torch.arange(first + 1, first + count + 1, dtype=torch.int64, device=device) * _MIX_1
    columns ^= columns >> 29
    columns *= _MIX_2
    columns ^= columns >> 32
    return columns | 1


def row_digest(rows: torch.Tensor) -> str:
    """Hash the rows of a matrix regardless of their order: engines batch images and clips in any order."""
    array = rows.detach().to("cpu", torch.float32).contiguous().numpy()
    return hashlib.sha256(b"".join(sorted(row.tobytes() for row in array))).hexdigest()


def pack(tensors: Iterable[tuple[str, torch.Tensor]], bucket_bytes: int = BUCKET_BYTES) -> Iterator[Packet]:
    """Yield packets of at most `bucket_bytes`, with the tensors in the given order."""
    headers: list[TensorHeader] = []
    parts: list[torch.Tensor] = []
    for name, tensor in tensors:
        data = tensor.detach().to("cpu").contiguous().view(-1).view(torch.uint8)
        if headers and sum(part.numel() for part in parts) + data.numel() > bucket_bytes:
            yield Packet(headers=tuple(headers), payload=torch.cat(parts))
            headers, parts = [], []
        dtype, shape = str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape)
        headers.append(TensorHeader(name=name, dtype=dtype, shape=shape, crc32=zlib.crc32(data.numpy().data)))
        parts.append(data)
    if headers:
        yield Packet(headers=tuple(headers), payload=torch.cat(parts))


def unpack(packet: Packet) -> list[tuple[str, torch.Tensor]]:
    """Return the tensors of a packet. Raises WeightPushError naming the first with a wrong checksum."""
    tensors = []
    parts = packet.payload.split([header.num_bytes for header in packet.headers])
    for header, part in zip(packet.headers, parts, strict=True):
        got = zlib.crc32(part.numpy().data)
        if got != header.crc32:
            raise WeightPushError(
                f"{header.name}: got bytes with checksum {got:08x}, wanted {header.crc32:08x}: damaged in transit; "
                "no weight was changed, push again"
            )
        # A view at an unaligned offset of the payload cannot be read as another dtype.
        tensors.append((header.name, part.clone().view(getattr(torch, header.dtype)).view(header.shape)))
    return tensors


def open_store(address: str, timeout_s: float) -> TCPStore:
    """Open the rendezvous store of a group on a free port of `address` alone; the others need `store.port`.

    A socket of ours, because TCPStore's own listens on all addresses of the machine. Raises WeightPushError if
    `address` is not one of them.
    """
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    try:
        listener = socket.create_server((address, 0), family=family, backlog=_BACKLOG)
    except OSError as error:
        raise WeightPushError(
            f"weight push: cannot listen on {address}, by which the engines know this machine: {error}"
        ) from error
    port = listener.getsockname()[1]
    timeout = timedelta(seconds=timeout_s)
    return TCPStore(
        address, port, is_master=True, wait_for_workers=False, timeout=timeout, master_listen_fd=listener.detach()
    )


def join_store(address: str, port: int, timeout_s: float) -> TCPStore:
    """Connect to a store that another process opened."""
    return TCPStore(address, port, is_master=False, timeout=timedelta(seconds=timeout_s))


class PacketGroup:
    """A sender (rank 0) and its receivers."""

    def __init__(self, store: TCPStore, name: str, *, rank: int, world_size: int, timeout_s: float) -> None:
        """Wait for all `world_size` members; every wait ends after `timeout_s`. Raises WeightPushError."""
        set_gloo_interface(store.host)
        timeout = timedelta(seconds=timeout_s)
        self._options = BroadcastOptions()
        self._options.rootRank = self._options.rootTensor = 0
        self._store = store  # keep a reference: the group needs it
        try:
            self._group: Any = ProcessGroupGloo(PrefixStore(name, store), rank, world_size, timeout)
        except RuntimeError as error:
            raise WeightPushError(
                f"rank {rank} of the weight push: got no group of {world_size} in {timeout_s:g} s: {error}; an engine "
                "is down or push.timeout_s is too short"
            ) from error

    def send(self, packet: Packet | None) -> None:
        """Send a packet to all receivers; None ends the stream."""
        headers = [[h.name, h.dtype, h.shape, h.crc32] for h in packet.headers] if packet is not None else []
        text = torch.frombuffer(bytearray(json.dumps(headers).encode()), dtype=torch.uint8)
        self._broadcast(torch.tensor([len(text)]))
        self._broadcast(text)
        if packet is not None:
            self._broadcast(packet.payload)

    def receive(self) -> Packet | None:
        """Return the next packet, or None at the end of the stream."""
        length = torch.zeros(1, dtype=torch.int64)
        self._broadcast(length)
        text = torch.empty(int(length), dtype=torch.uint8)
        self._broadcast(text)
        headers = tuple(
            TensorHeader(name=name, dtype=dtype, shape=tuple(shape), crc32=crc32)
            for name, dtype, shape, crc32 in json.loads(text.numpy().tobytes())
        )
        if not headers:
            return None
        payload = torch.empty(sum(header.num_bytes for header in headers), dtype=torch.uint8)
        self._broadcast(payload)
        return Packet(headers=headers, payload=payload)

    def _broadcast(self, tensor: torch.Tensor) -> None:
        try:
            self._group.broadcast([tensor], self._options).wait()
        except RuntimeError as error:
            raise WeightPushError(
                f"weight push: a peer left or answered too late ({error}); see engine logs or raise push.timeout_s"
            ) from error
