import asyncio
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support.fakes import FakeEngines, FakeLearner, FakeRewards, prepare

from vrl.config import (
    AlgoConfig,
    LogConfig,
    RewardConfig,
    RewardTermConfig,
    RolloutConfig,
    RunConfig,
    TaskConfig,
)
from vrl.data.stream import SampleStream
from vrl.errors import LostCallError, RewardError, WorkerError
from vrl.lifecycle import first_cause
from vrl.observability.run_log import RunLog
from vrl.rollout.prefetch import PromptPrefetcher
from vrl.training.driver import Driver
from vrl.training.progress import RunProgress
from vrl.training.validation import val_metrics, validate
from vrl.types import Prompt, Sample, VisionGrid

SAMPLES = [Sample(sample_id=str(i), task="vqa" if i % 2 else "grounding", question="?") for i in range(40)]


class Run:
    """A driver over fakes, and everything that a test may want to look at."""

    def __init__(self, tmp_path: Path, *, age: int = 0, steps: int = 5, algo: dict | None = None, **kw) -> None:
        algo_config = AlgoConfig(groups_per_step=4, max_policy_age=age, **(algo or {}))
        sections = {name: kw[name] for name in ("tasks", "rollout", "reward") if name in kw}
        self.config = RunConfig(name="t", runs_dir=str(tmp_path), steps=steps, algo=algo_config, **sections)
        self.rewards = kw.get("rewards", FakeRewards())
        self.engines = kw.get("engines", FakeEngines())
        self.learner: Any = FakeLearner()
        self.log = RunLog(tmp_path, LogConfig(tensorboard=False), steps=steps)
        self.pushed: list[int] = []
        self.kept: list[tuple[RunProgress, int]] = []  # what a checkpoint would store after each step; rows there then
        self.file = tmp_path / "metrics.jsonl"
        stream = SampleStream(SAMPLES, seed=0, shuffle=True)
        self.prefetcher = PromptPrefetcher(stream, kw.get("prepare", prepare), prefetch=8, max_bad_fraction=0.1)
        self.driver = Driver(
            self.config,
            prefetcher=self.prefetcher,
            engines=self.engines,
            rewards=self.rewards,
            learner=self.learner,
            log=self.log,
            sync_weights=self._push,
            on_step=kw.get("on_step", self._nothing),
            after_step=self._keep,
            progress=RunProgress(),
        )

    async def _push(self, version: int) -> int:
        await asyncio.sleep(0)
        self.engines.version = version
        self.pushed.append(version)
        return 100

    async def _nothing(self, step, groups, advantages) -> dict[str, float]:
        return {}

    async def _keep(self) -> None:
        self.kept.append((self.driver.checkpoint_progress, len(self.rows())))

    def rows(self) -> list[dict]:
        return [json.loads(line) for line in self.file.read_text().splitlines()]

    def go(self) -> None:
        async def main():
            await self.driver.run()
            self.prefetcher.close()

        asyncio.run(main())
        self.log.close()


def test_a_task_that_compares_orders_is_drawn_again_on_permuted_frames(tmp_path: Path):
    asked: list[Prompt] = []

    class Watching(FakeEngines):
        async def call(self, method, *args, **sampling):
            asked.extend(args[0])
            return await super().call(method, *args, **sampling)

    async def prepare_clip(sample: Sample):
        prompt, patches = await prepare(sample)
        clip = VisionGrid(kind="video", grid_thw=(4, 2, 2))
        return replace(prompt, vision=(clip,), media_key=f"m{sample.sample_id}"), patches

    terms = [RewardTermConfig(reward="accuracy"), RewardTermConfig(reward="temporal_order")]
    run = Run(
        tmp_path,
        engines=Watching(),
        rewards=FakeRewards(),
        prepare=prepare_clip,
        tasks=[TaskConfig(task="vqa", rewards=terms)],
        rollout=RolloutConfig(group_size=4),
        reward=RewardConfig(order_draws=3),
    )
    run.go()
    twins = [prompt for prompt in asked if prompt.frame_order]
    plain = [prompt for prompt in asked if not prompt.frame_order and prompt.sample.task == "vqa"]
    assert twins and [twin.sample for twin in twins] == [prompt.sample for prompt in plain]
    assert all(sorted(twin.frame_order) == list(range(8)) != list(twin.frame_order) for twin in twins)
    assert not {twin.media_key for twin in twins} & {prompt.media_key for prompt in plain}
    assert sorted(run.rewards.shuffled) == [0] * (20 - len(twins)) + [3] * len(twins)
    trained = [len(group.completions) for batch in run.learner.batches for group in batch.micro_batches[0][0].groups]
    assert trained == [4] * 20  # never on permuted frames
    for row, call in zip(run.rows(), run.engines.calls, strict=True):
        again = len(call) - 4
        assert row["rollout/shuffled_frac"] == pytest.approx(3 * again / (4 * 4 + 3 * again))


def test_synchronous_run_trains_every_group_on_its_own_version(tmp_path: Path):
    run = Run(tmp_path)
    run.go()
    rows = run.rows()
    assert [row["step"] for row in rows] == [1, 2, 3, 4, 5]
    assert [row["policy_version"] for row in rows] == [1, 2, 3, 4, 5] == run.pushed
    assert all(row["rollout/policy_age_max"] == 0 for row in rows)
    assert [len(call) for call in run.engines.calls] == [4] * 5  # one wave a step
    assert rows[0]["reward/mean"] == 0.5 and rows[0]["reward/accuracy"] == 0.5
    counts = run.driver.counts
    assert (counts.started, counts.trained, counts.dropped, counts.unfinished) == (20, 20, {}, 0)
    assert run.driver.progress.ordinal == 20


@pytest.mark.parametrize("age", [1, 2])
def test_asynchronous_run_uses_and_respects_its_bound(tmp_path: Path, age: int):
    run = Run(tmp_path, age=age, steps=30)
    run.go()
    ages = [row["rollout/policy_age_max"] for row in run.rows()]
    assert max(ages) == age
    assert run.driver.counts.trained == 120 and run.driver.counts.unfinished == 0


def test_zero_spread_and_failed_groups_are_counted_and_left_out(tmp_path: Path):
    run = Run(tmp_path, steps=6, rewards=FakeRewards(flat=frozenset(range(0, 40, 4)), broken=frozenset({1, 2})))
    run.go()
    counts = run.driver.counts
    assert counts.started == counts.trained + sum(counts.dropped.values()) + counts.unfinished
    assert counts.dropped["zero_spread"] > 0 and counts.dropped["reward"] > 0
    trained = sum(len(mb.groups) for batch in run.learner.batches for rank in batch.micro_batches for mb in rank)
    assert trained == counts.trained
    assert any(row["group/zero_spread_frac"] > 0 for row in run.rows())


def test_groups_of_equal_rewards_train_against_the_baseline_of_the_step(tmp_path: Path):
    run = Run(
        tmp_path, steps=6, rewards=FakeRewards(flat=frozenset(range(0, 40, 4))), algo={"advantage": "reinforce_batch"}
    )
    run.go()
    assert (run.driver.counts.trained, run.driver.counts.dropped) == (24, {})
    assert any(row["group/zero_spread_frac"] > 0 for row in run.rows())
    for batch in run.learner.batches:
        groups = [group for rank in batch.micro_batches for micro_batch in rank for group in micro_batch.groups]
        assert len(groups) == 4
        assert sum(group.advantages_G.sum() for group in groups) == pytest.approx(0, abs=1e-6)


def test_a_step_without_any_spread_changes_no_weights(tmp_path: Path):
    run = Run(tmp_path, steps=2, rewards=FakeRewards(flat=frozenset(range(40))))
    run.go()
    rows = run.rows()
    assert run.pushed == [] and [row["policy_version"] for row in rows] == [0, 0]
    assert rows[0]["loss/policy"] == 0.0 and rows[0]["pack/loss_tokens"] == 0.0


def trained_groups(run: Run) -> list:
    batches = [batch.micro_batches for batch in run.learner.batches]
    return [group for ranks in batches for rank in ranks for micro_batch in rank for group in micro_batch.groups]


@pytest.mark.parametrize("age", [0, 1])
def test_weights_are_pushed_once_a_step_for_any_number_of_updates(tmp_path: Path, age: int):
    run = Run(tmp_path, age=age, algo={"mini_batches": 2, "epochs": 2})
    run.go()
    rows = run.rows()
    assert run.learner.updates == 20
    assert run.pushed == [row["policy_version"] for row in rows] == [1, 2, 3, 4, 5]
    assert max(row["rollout/policy_age_max"] for row in rows) == age


@pytest.mark.parametrize("age", [0, 2])
def test_zero_spread_groups_are_replaced_up_to_the_bound_and_still_shown(tmp_path: Path, age: int):
    flat = frozenset(range(0, 40, 2))
    run = Run(tmp_path, age=age, steps=8, rewards=FakeRewards(flat=flat), algo={"max_refills": 3})
    run.go()
    rows, counts = run.rows(), run.driver.counts
    refills = [row["group/refills"] for row in rows]
    assert max(refills) == 3 and 0 < sum(refills) <= 24
    assert counts.started == 32 + sum(refills) and counts.unfinished == 0
    assert counts.trained == len(trained_groups(run)) == 32 + sum(refills) - counts.dropped["zero_spread"]
    assert max(row["rollout/policy_age_max"] for row in rows) == age
    # Flat samples earn 1, the others 0.5 in the mean: every group of the step is in it, replaced or not.
    flats = [row["group/zero_spread_frac"] * (4 + refilled) for row, refilled in zip(rows, refills, strict=True)]
    assert sum(flats) == pytest.approx(counts.dropped["zero_spread"])
    for row, refilled, num_flat in zip(rows, refills, flats, strict=True):
        assert row["reward/mean"] == pytest.approx((num_flat + 0.5 * (4 + refilled - num_flat)) / (4 + refilled))


def test_refills_of_a_synchronous_run_are_waves_too(tmp_path: Path):
    run = Run(tmp_path, steps=1, rewards=FakeRewards(flat=frozenset(range(40))), algo={"max_refills": 6})
    run.go()
    assert [len(call) for call in run.engines.calls] == [4, 4, 2]  # all of 4 are replaced, then the 2 still allowed
    assert run.driver.counts.dropped == {"zero_spread": 10} and run.learner.batches == []


def test_truncated_completions_count_in_the_baseline_and_train_only_where_asked(tmp_path: Path):
    def step(truncated: str):
        folder = tmp_path / truncated
        folder.mkdir()
        # The samples 0 to 9 lose their first completion, which earns 0; all completions of 10 to 39 are cut.
        cut = {number: 1 if number < 10 else 4 for number in range(40)}
        run = Run(folder, steps=5, engines=FakeEngines(cut=cut), algo={"truncated": truncated, "advantage": "rloo"})
        run.go()
        return run, trained_groups(run)

    keep, groups = step("keep")
    assert len(groups) == 20 and all(mask.all() for group in groups for mask in group.loss_masks)
    mask, groups = step("mask")
    partly = 20 - mask.driver.counts.dropped["truncated"]
    assert len(groups) == partly > 0
    for group in groups:
        assert [own.tolist() for own in group.loss_masks] == [[False] * 2, [True] * 2, [True] * 2, [True] * 2]
        assert group.advantages_G.tolist() == pytest.approx([-2 / 3, 2 / 3, -2 / 3, 2 / 3])
    assert keep.rows()[0]["rollout/truncated_frac"] == mask.rows()[0]["rollout/truncated_frac"] > 0
    nothing, _ = step("zero_reward")
    assert nothing.driver.counts.dropped == {"zero_spread": 20 - partly}  # all four earn 0
    assert nothing.rows()[0]["reward/mean"] < keep.rows()[0]["reward/mean"]
    assert nothing.rows()[0]["reward/accuracy"] == keep.rows()[0]["reward/accuracy"]


def test_the_penalty_for_length_is_a_part_of_the_reward(tmp_path: Path):
    run = Run(tmp_path, steps=1, algo={"overlong_tokens": 767, "overlong_coef": 767.0})  # of 768: from the first token
    run.go()
    row = run.rows()[0]
    assert row["reward/overlong"] == pytest.approx(-1.0)  # completions have two tokens
    assert row["reward/mean"] == pytest.approx(row["reward/accuracy"] - 1.0)


def test_a_checkpoint_stands_for_rows_that_are_written_and_for_settled_groups(tmp_path: Path):
    run = Run(tmp_path, age=2, steps=5)
    run.go()
    assert [(kept.step, rows) for kept, rows in run.kept] == [(n, n) for n in range(1, 6)]
    assert [kept.ordinal for kept, _ in run.kept] == [4, 8, 12, 16, 20]
    first = run.kept[0][0].earlier
    assert (first.started, first.trained, first.unfinished) == (4, 4, 0)  # of 12 started: 8 will be drawn again


def test_the_next_rollouts_start_while_a_checkpoint_is_saved(tmp_path: Path):
    class Saving(Run):
        async def _keep(self) -> None:
            async with asyncio.timeout(30):
                while len(self.engines.calls) < min(self.driver.progress.step + 1, 5):  # one call a step
                    await asyncio.sleep(0)

    run = Saving(tmp_path, steps=5)
    run.go()
    assert max(row["rollout/policy_age_max"] for row in run.rows()) == 0


def test_a_step_that_is_not_finite_is_counted_and_nothing_is_pushed(tmp_path: Path):
    run = Run(tmp_path, steps=3)
    run.learner.nonfinite = {2}
    run.go()
    rows = run.rows()
    assert run.pushed == [1, 2] and [row["policy_version"] for row in rows] == [1, 1, 2]
    assert [row["learner/nonfinite_steps"] for row in rows] == [0, 1, 1]
    assert "loss/policy" not in rows[1] and "learner/grad_norm" not in rows[1]
    assert rows[1]["loss/mismatch_kl"] == 0.0 and rows[2]["loss/policy"] == 0.5


def test_rewards_that_always_fail_end_the_run(tmp_path: Path):
    run = Run(tmp_path, rewards=FakeRewards(broken=frozenset(range(40))))
    with pytest.raises(BaseExceptionGroup) as caught:
        run.go()
    error = first_cause(caught.value)
    assert isinstance(error, RewardError) and "groups in a row failed" in str(error) and "judge is down" in str(error)


def test_a_dead_worker_ends_the_run(tmp_path: Path):
    class DeadEngines(FakeEngines):
        async def call(self, method, *args, **sampling):
            if len(self.calls) == 2:
                raise WorkerError("rollout worker 0 died")
            return await super().call(method, *args, **sampling)

    run = Run(tmp_path, engines=DeadEngines())
    with pytest.raises(BaseExceptionGroup) as caught:
        run.go()
    assert isinstance(first_cause(caught.value), WorkerError)
    assert len(run.rows()) == 2


@pytest.mark.parametrize("age", [0, 2])
def test_stop_ends_after_the_step_under_way(tmp_path: Path, age: int):
    async def stop_at_three(step, *_: Any) -> dict[str, float]:
        if step == 3:
            run.driver.stop_soon()
            await asyncio.sleep(0)
        return {}

    run = Run(tmp_path, age=age, steps=50, on_step=stop_at_three)
    run.go()
    assert run.driver.progress.step == 3
    counts = run.driver.counts
    assert counts.trained == 12 and counts.started == counts.trained + counts.unfinished


def test_a_validation_of_thinking_shows_consistency_and_evidence_in_percent(tmp_path: Path):
    class Thinking(FakeRewards):
        async def call(self, method, *args, **kwargs):
            number = int(args[0].sample.sample_id)
            parts = {"think_answer_consistency": [1.0, None, 0.0, 1.0][number], "visual_evidence": 0.25 * number}
            return tuple(replace(r, breakdown=parts) for r in await super().call(method, *args, **kwargs))

    async def scenario():
        prefetcher = PromptPrefetcher(iter(SAMPLES[:4]), prepare, prefetch=2, max_bad_fraction=0.0)
        return await validate(prefetcher, FakeEngines(), Thinking(), wave=4, temperature=0.0)

    result = asyncio.run(scenario())
    assert result["tac"] == pytest.approx(200 / 3) and result["vas"] == pytest.approx(37.5)
    shown = val_metrics(result)
    assert shown["val/tac"] == result["tac"] and shown["val/vas"] == result["vas"]


def test_validation_is_the_mean_over_samples(tmp_path: Path):
    async def scenario():
        prefetcher = PromptPrefetcher(iter(SAMPLES[:6]), prepare, prefetch=2, max_bad_fraction=0.0)
        engines = FakeEngines()
        result = await validate(prefetcher, engines, FakeRewards(flat=frozenset({0, 1, 2})), wave=4, temperature=0.0)
        assert [len(call) for call in engines.calls] == [4, 2]
        assert result["mean"] == 0.5  # samples 0, 1, 2 earn 1, the others their only completion's 0
        assert result["grounding"] == pytest.approx(2 / 3) and result["vqa"] == pytest.approx(1 / 3)
        assert result["accuracy/vqa"] == pytest.approx(1 / 3)

    asyncio.run(scenario())


def test_groups_lost_with_their_workers_are_dropped_and_replaced(tmp_path: Path):
    class Mortal(FakeEngines):
        async def call(self, method, *args, **sampling):
            done = await super().call(method, *args, **sampling)
            if len(self.calls) % 2:
                raise LostCallError("rollout worker 0 was lost during generate")
            return done

    run = Run(tmp_path, age=1, steps=20, engines=Mortal())
    run.go()
    counts = run.driver.counts
    assert counts.dropped["rollout_lost"] > 32 and counts.trained == 80
    assert counts.started == counts.trained + counts.dropped["rollout_lost"] + counts.unfinished
