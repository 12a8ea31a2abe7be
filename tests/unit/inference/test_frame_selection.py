"""Intervals and moments of backfill."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vrl.inference.config import BackfillConfig
from vrl.inference.frame_selection import event_intervals, merge, plan_moments, windows

CONFIG = BackfillConfig()


def test_events_are_cut_to_the_clip_and_reversed_ones_dropped():
    assert event_intervals([(0.25, 0.5), (0.9, 1.5), (0.6, 0.4), (1.2, 1.4)], 20.0) == [(5.0, 10.0), (18.0, 20.0)]


def test_windows_end_with_the_clip():
    assert windows([0.0, 7.0, 9.0], 8.0, 2.0) == [(0.0, 2.0), (7.0, 8.0)]


def test_touching_intervals_become_one():
    assert merge([(4.0, 6.0), (0.0, 2.0), (2.0, 3.0), (5.0, 5.5)]) == ((0.0, 3.0), (4.0, 6.0))
    assert merge([]) == ()


def test_half_of_the_budget_goes_inside_and_the_rest_into_free_cells():
    """40 s, 8 frames, event at 10 .. 12 s: four inside at 10.25 .. 11.75; cells of 5 s, of which one is taken."""
    moments = plan_moments(((10.0, 12.0),), 40.0, 8, CONFIG)
    assert moments == (0.0, 10.25, 10.75, 11.25, 11.75, 15.0, 25.0, 35.0)


def test_the_dense_rate_is_bounded():
    """Half a second at 6 a second is three frames, though the budget would allow eight."""
    moments = plan_moments(((10.0, 10.5),), 40.0, 16, CONFIG)
    assert sum(10.0 <= moment <= 10.5 for moment in moments) == 3
    assert len(moments) == 16


def test_a_long_guess_leaves_a_short_event_its_frames():
    """Intervals of 11 s and 1 s get four moments each; dealt by seconds, the short one would get none."""
    moments = plan_moments(((2.0, 13.0), (23.5, 24.5)), 32.0, 16, CONFIG)
    assert [moment for moment in moments if 23.5 <= moment <= 24.5] == [23.625, 23.875, 24.125, 24.375]
    assert {3.375, 6.125, 8.875, 11.625} < set(moments) and len(moments) == 16


def test_more_intervals_than_moments_are_thinned():
    moments = plan_moments([(10.0 * k, 10.0 * k + 1.0) for k in range(4)], 40.0, 4, BackfillConfig(dense_share=0.5))
    assert [moment for moment in moments if moment % 10 == 0.5] == [10.5, 30.5]


def test_a_short_interval_gets_no_more_than_the_rate_allows():
    moments = plan_moments(((0.0, 1.0), (20.0, 23.0)), 40.0, 16, BackfillConfig(dense_fps=2.0))
    inside = [moment for moment in moments if moment < 1.0 or 20.0 <= moment <= 23.0]
    assert [round(moment, 2) for moment in inside if moment >= 20] == [20.25, 20.75, 21.25, 21.75, 22.25, 22.75]
    assert [moment for moment in inside if moment < 1.0][-2:] == [0.25, 0.75]


def test_taken_cells_are_used_if_there_are_too_few_free_ones():
    moments = plan_moments(((0.0, 40.0),), 40.0, 8, CONFIG)
    assert len(moments) == 8


@given(
    st.lists(st.tuples(st.floats(0, 99), st.floats(0.01, 30)), max_size=5),
    st.integers(1, 32).map(lambda half: 2 * half),
    st.floats(0, 1),
)
def test_the_budget_is_always_met_inside_the_clip(pairs, budget, dense_share):
    intervals = merge([(start, min(100.0, start + length)) for start, length in pairs])
    config = BackfillConfig(dense_share=dense_share)
    moments = plan_moments(intervals, 100.0, budget, config)
    assert len(moments) == budget
    assert list(moments) == sorted(moments)
    assert moments[0] >= 0 and moments[-1] <= 100.0
    uniform = {k * (100.0 / budget) for k in range(budget)}
    dense = [moment for moment in moments if moment not in uniform]
    assert len(dense) <= dense_share * budget
    assert all(any(start <= moment <= end + 1e-9 for start, end in intervals) for moment in dense)


def test_without_intervals_the_grid_is_uniform():
    assert plan_moments((), 8.0, 4, CONFIG) == pytest.approx((0.0, 2.0, 4.0, 6.0))
