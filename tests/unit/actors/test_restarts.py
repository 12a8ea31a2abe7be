from vrl.actors.restarts import RestartBudget
from vrl.config import FaultConfig


def test_pauses_double_and_the_budget_recovers_with_time():
    now = [0.0]
    budget = RestartBudget(FaultConfig(max_restarts=3, window_s=100.0, backoff_s=2.0), clock=lambda: now[0])
    for at, most in ((0.0, 2.0), (10.0, 4.0), (20.0, 8.0)):
        now[0] = at
        pause_s = budget.spend()
        assert pause_s is not None and most / 2 <= pause_s <= most
    now[0] = 99.0
    assert budget.spend() is None
    now[0] = 101.0  # the first restart is out of the window
    pause_s = budget.spend()
    assert pause_s is not None and 4.0 <= pause_s <= 8.0
    assert budget.spend() is None


def test_a_budget_of_zero_and_the_longest_pause():
    assert RestartBudget(FaultConfig(max_restarts=0)).spend() is None
    budget = RestartBudget(FaultConfig(max_restarts=50, backoff_s=1.0))
    pauses = [budget.spend() for _ in range(50)]
    assert max(pause for pause in pauses if pause is not None) <= 60.0
