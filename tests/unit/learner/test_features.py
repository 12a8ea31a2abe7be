import torch

from vrl.learner.features import FeatureCache

SQUARE, CLIP = (1, 2, 2), (2, 2, 2)


class Tower:
    """Computes two features per four patches; records the number of patches of every call."""

    def __init__(self):
        self.calls = []

    def __call__(self, patches, grids):
        self.calls.append(len(patches))
        sums = patches.float().reshape(-1, 4).sum(-1, keepdim=True)
        return sums, 10 * sums


def test_cached_clips_are_not_encoded_again_and_keep_their_order():
    tower, cache = Tower(), FeatureCache(1000)
    one, two = torch.full((4, 1), 1, dtype=torch.uint8), torch.full((8, 1), 2, dtype=torch.uint8)
    assert cache.encode([one], [SQUARE], tower)[0].flatten().tolist() == [4]
    features, deep = cache.encode([two, one, two], [CLIP, SQUARE, CLIP], tower)
    assert features.flatten().tolist() == [8, 8, 4, 8, 8] and deep.flatten().tolist() == [80, 80, 40, 80, 80]
    cache.encode([one, two], [SQUARE, CLIP], tower)
    assert tower.calls == [4, 8, 0]  # the last call only joins the collectives


def test_equal_patches_with_another_grid_are_another_clip():
    tower, cache = Tower(), FeatureCache(1000)
    patches = torch.ones(8, 1, dtype=torch.uint8)
    cache.encode([patches, patches], [(2, 2, 2), (1, 2, 4)], tower)
    assert tower.calls == [16]


def test_the_least_recently_used_clip_is_evicted_first():
    tower, cache = Tower(), FeatureCache(16)  # two squares: 2 x (4 + 4) bytes
    clips = [torch.full((4, 1), i, dtype=torch.uint8) for i in range(3)]
    for i in (0, 1, 0, 2, 0, 1):  # 2 evicts 1, and 1 evicts 2
        assert cache.encode([clips[i]], [SQUARE], tower)[0].item() == 4 * i
    assert tower.calls == [4, 4, 0, 4, 0, 4]


def test_without_room_every_clip_is_encoded_each_time():
    tower, cache = Tower(), FeatureCache(0)
    for _ in range(2):
        cache.encode([torch.ones(4, 1, dtype=torch.uint8)], [SQUARE], tower)
    assert tower.calls == [4, 4]
