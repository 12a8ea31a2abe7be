import pytest

from vrl.config import LearnerConfig
from vrl.learner.schedule import learning_rate


def rates(schedule, warmup, total, horizon=0):
    config = LearnerConfig(lr=8.0, lr_schedule=schedule, warmup_steps=warmup, schedule_updates=horizon)
    return [learning_rate(step, config, total) for step in range(total + 1)]


def test_warm_up_then_constant():
    assert rates("constant", 4, 6) == [2.0, 4.0, 6.0, 8.0, 8.0, 8.0, 8.0]


def test_linear_decays_to_zero():
    assert rates("linear", 0, 4) == [8.0, 6.0, 4.0, 2.0, 0.0]


def test_cosine_is_half_way_down_in_the_middle():
    assert rates("cosine", 2, 6) == pytest.approx([4.0, 8.0, 8.0, 6.8284271, 4.0, 1.1715729, 0.0])


def test_a_decay_may_be_longer_or_shorter_than_the_run():
    assert rates("linear", 0, 2, horizon=4) == [8.0, 6.0, 4.0]
    assert rates("linear", 1, 4, horizon=3) == [8.0, 8.0, 4.0, 0.0, 0.0]
