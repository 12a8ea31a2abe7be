import numpy as np
import pytest

from vrl.config import FrameConfig
from vrl.data.decode.sampling import choose_frames, num_frames

CONFIG = FrameConfig(fps=2.0, min_frames=4, max_frames=8)


def test_num_frames_is_even_and_bounded_by_config_and_clip() -> None:
    assert num_frames(3.0, 90, CONFIG) == 6
    assert num_frames(3.4, 90, CONFIG) == 6  # 6.8 wanted: 6 is nearer than 8
    assert num_frames(3.6, 90, CONFIG) == 8  # 7.2 wanted
    assert num_frames(0.1, 90, CONFIG) == 4  # min_frames
    assert num_frames(60.0, 1800, CONFIG) == 8  # max_frames
    assert num_frames(3.0, 5, CONFIG) == 4  # five frames contain two pairs
    assert num_frames(3.0, 1, CONFIG) == 2  # one frame, shown twice


def test_constant_rate_gives_every_kth_frame_and_its_own_time() -> None:
    times_s = np.arange(30) / 10  # 3 s at 10 fps
    choice = choose_frames(times_s, 3.0, CONFIG)
    assert choice.indices.tolist() == [0, 5, 10, 15, 20, 25]
    assert choice.timestamps_s.tolist() == [0.0, 0.5, 1.0, 1.5, 2.0, 2.5]
    assert choice.duration_s == 3.0


def test_variable_rate_is_sampled_by_time_not_by_index() -> None:
    times_s = np.array([0.0, 0.1, 0.2, 0.3, 0.9, 1.1, 1.5, 1.9])  # four of eight frames in the first 0.4 s
    choice = choose_frames(times_s, 2.0, CONFIG)  # targets 0, 0.5, 1, 1.5
    assert choice.indices.tolist() == [0, 3, 4, 6]  # 0.3 is nearer to 0.5 than 0.9; of 0.9 and 1.1 the earlier
    assert choice.timestamps_s.tolist() == [0.0, 0.3, 0.9, 1.5]


def test_still_stretch_shows_its_frame_again_with_its_own_time() -> None:
    times_s = np.array([0.0, 0.1, 3.8, 3.9])
    choice = choose_frames(times_s, 4.0, FrameConfig(fps=1.0, min_frames=4, max_frames=4))
    assert choice.indices.tolist() == [0, 1, 2, 2]  # targets 0, 1, 2, 3: 2.0 is 1.9 from 0.1 and 1.8 from 3.8
    assert choice.timestamps_s.tolist() == [0.0, 0.1, 3.8, 3.8]


def test_cut_counts_time_from_its_own_start() -> None:
    times_s = np.arange(100) / 10
    choice = choose_frames(times_s, 10.0, CONFIG, start_s=4.0, end_s=6.0)
    assert choice.indices.tolist() == [40, 45, 50, 55]
    np.testing.assert_allclose(choice.timestamps_s, [0.0, 0.5, 1.0, 1.5], atol=1e-12)
    assert choice.duration_s == 2.0


def test_cut_may_end_a_little_after_the_clip_and_then_ends_with_it() -> None:
    assert choose_frames(np.arange(100) / 10, 10.0, CONFIG, start_s=8.0, end_s=10.4).duration_s == 2.0


@pytest.mark.parametrize(
    ("start_s", "end_s", "message"),
    [(10.0, None, "within the clip"), (8.0, 11.0, "within the clip"), (4.01, 4.09, "no frame")],
)
def test_impossible_cuts_are_refused(start_s: float, end_s: float | None, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        choose_frames(np.arange(100) / 10, 10.0, CONFIG, start_s=start_s, end_s=end_s)
