"""Bootstrap means and paired tests, on cases worked by hand."""

import math

import numpy as np
import pytest

from vrl.evaluation.interval import difference, draw_counts, estimate, items, mcnemar, means


def test_a_resample_draws_as_many_units_as_there_are_and_the_seed_repeats_it():
    counts = draw_counts(["a", "b", "c", "d"], 50, seed=3)
    assert counts.shape == (50, 4) and (counts.sum(axis=1) == 4).all()
    assert (counts == draw_counts(["a", "b", "c", "d"], 50, seed=3)).all()
    assert (counts != draw_counts(["a", "b", "c", "d"], 50, seed=4)).any()


def test_questions_about_one_clip_come_together():
    counts = draw_counts(["x", "y", "x", "y", "z"], 200, seed=0)
    assert (counts[:, 0] == counts[:, 2]).all() and (counts[:, 1] == counts[:, 3]).all()
    assert (counts[:, [0, 1, 4]].sum(axis=1) == 3).all()


def test_means_weigh_items_by_their_count_and_groups_equally():
    values = np.array([1.0, 0.0, 1.0, 0.5])
    counts = np.array([[1, 1, 1, 1], [2, 0, 0, 2], [0, 4, 0, 0]])
    pooled = np.arange(4)
    assert means(values, counts, pooled).tolist() == [0.625, 0.75, 0.0]
    grouped = (np.array([0, 1, 2]), np.array([3]))
    # (2/3 + 1/2) / 2; (1 + 1/2) / 2; the group that the third resample lacks is left out
    assert means(values, counts, grouped).tolist() == pytest.approx([7 / 12, 0.75, 0.0])
    nested = (grouped, np.array([1]))
    assert means(values, counts, nested)[0] == pytest.approx(7 / 24)
    assert math.isnan(means(values, counts, np.array([0]))[2])
    assert items(nested).tolist() == [0, 1, 2, 3]


def test_an_interval_has_the_width_that_theory_gives():
    rng = np.random.default_rng(0)
    values = (rng.random(400) < 0.6).astype(float)
    found = estimate(values, draw_counts([str(i) for i in range(400)], 4000, seed=1), np.arange(400), 0.95)
    mean = values.mean()
    half = 1.96 * math.sqrt(mean * (1 - mean) / 400)  # normal approximation
    assert found.value == mean and found.count == 400
    assert found.low == pytest.approx(mean - half, abs=0.006) and found.high == pytest.approx(mean + half, abs=0.006)


def test_certain_values_have_no_interval():
    found = estimate(np.ones(5), draw_counts(list("abcde"), 100, seed=0), np.arange(5), 0.9)
    assert (found.value, found.low, found.high) == (1.0, 1.0, 1.0)


def test_pairing_sees_a_small_steady_gain_that_two_intervals_would_hide():
    rng = np.random.default_rng(0)
    first = rng.random(200)
    second = first + 0.02
    counts = draw_counts([str(i) for i in range(200)], 500, seed=0)
    gap, (a, b) = difference((first, np.arange(200)), (second, np.arange(200)), counts, 0.95)
    assert (a, b) == (pytest.approx(first.mean()), pytest.approx(second.mean()))
    assert gap.value == pytest.approx(0.02) and gap.low == pytest.approx(0.02) and gap.high == pytest.approx(0.02)
    assert gap.p_value == pytest.approx(1 / 501)  # no resample is on the other side


def test_equal_runs_do_not_differ():
    values = np.array([1.0, 0.0, 1.0])
    side = (values, np.arange(3))
    gap, _ = difference(side, side, draw_counts(list("abc"), 100, seed=0), 0.95)
    assert (gap.value, gap.low, gap.high, gap.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_mcnemar_counts_what_only_one_run_gets_right():
    first = np.array([True] * 1 + [False] * 5 + [True] * 10)
    second = np.array([False] * 1 + [True] * 5 + [True] * 10)
    found = mcnemar(first, second)
    assert (found.only_first, found.only_second) == (1, 5)
    assert found.p_value == pytest.approx(2 * (1 + 6) / 2**6)  # binomial(6, 1/2) at most 1, both sides
    assert mcnemar(first, first).p_value == 1.0
    assert mcnemar(np.zeros(3000, bool), np.ones(3000, bool)).p_value < 1e-300
