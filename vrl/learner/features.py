"""Caches a frozen vision tower's features of clips, by content; evicts the least recently used.

All passes over a step's groups (old log-probs, reference, each update) and later draws of a clip then need one tower
call in total. Held in host memory. Does not know the tower or whether it is frozen: its caller does.
Axes: V features of one clip, D hidden size.
"""

from collections import OrderedDict
from collections.abc import Callable, Sequence
from hashlib import blake2b

import torch
from torch import Tensor

Grid = tuple[int, int, int]
Features = tuple[Tensor, ...]  # [V, D] each: the tower's last and, for Qwen3-VL, its deepstack ones


class FeatureCache:
    """The features of the most recently used clips, up to `max_bytes`."""

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._kept: OrderedDict[bytes, Features] = OrderedDict()

    def encode(
        self, clips: Sequence[Tensor], grids: Sequence[Grid], tower: Callable[[Tensor, list[Grid]], Features]
    ) -> Features:
        """Return `tower(patches, grids)` for all clips [num_patches, patch_dim], computed for new ones only.

        The tower is called exactly once, with empty input if no clip is new: under ZeRO-3 it gathers collectively.
        """
        keys = [_key(patches, grid) for patches, grid in zip(clips, grids, strict=True)]
        known = {key: self._kept[key] for key in keys if key in self._kept}
        new = {key: i for i, key in enumerate(keys) if key not in known}
        chosen = [clips[i] for i in new.values()]
        features = tower(torch.cat(chosen) if chosen else clips[0][:0], [grids[i] for i in new.values()])
        if new:
            patches_per_feature = sum(map(len, chosen)) // len(features[0])
            counts = [len(patches) // patches_per_feature for patches in chosen]
            parts = zip(*(part.split(counts) for part in features), strict=True)
            known |= {
                key: tuple(part.to("cpu", copy=True) for part in own) for key, own in zip(new, parts, strict=True)
            }
        self._keep(keys, known)
        return tuple(torch.cat(parts) for parts in zip(*(known[key] for key in keys), strict=True))

    def _keep(self, keys: Sequence[bytes], known: dict[bytes, Features]) -> None:
        """Move the clips in use to the end and evict from the front."""
        for key in keys:
            if key not in self._kept:
                self._num_bytes += _num_bytes(known[key])
            self._kept[key] = known[key]
            self._kept.move_to_end(key)
        while self._num_bytes > self._max_bytes:
            _, evicted = self._kept.popitem(last=False)
            self._num_bytes -= _num_bytes(evicted)


def _key(patches: Tensor, grid: Grid) -> bytes:
    digest = blake2b(repr(grid).encode(), digest_size=16)
    digest.update(patches.contiguous().numpy().data)
    return digest.digest()


def _num_bytes(features: Features) -> int:
    return sum(part.nbytes for part in features)
