from types import SimpleNamespace

from vrl.algo.vocabulary import banned_token_ids


def test_the_four_vision_tokens_are_banned_once_each():
    config = SimpleNamespace(
        image_token_id=12, video_token_id=13, vision_start_token_id=9, vision_end_token_id=9, eos_token_id=2
    )
    assert banned_token_ids(config) == (9, 12, 13)
