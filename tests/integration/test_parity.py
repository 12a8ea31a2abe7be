"""The gate on live engines: passes for every family, fails for each fault that makes video RL silently off-policy."""

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import AutoModelForImageTextToText

from vrl.algo.positions import PositionRule, prompt_positions
from vrl.config import ModelConfig, RolloutConfig
from vrl.errors import ParityError
from vrl.parity.checkpoint import CASES, CaseSpec, InProcess, VideoSpec, write_case
from vrl.parity.gate import GateCase, LocalLearner, ParityReport, run_gate
from vrl.rollout.engine import RolloutEngine
from vrl.toyworld.model import FAMILIES, build_family
from vrl.types import VisionGrid

EVERY_12TH = "25 fps, every 12th frame"
NAMES = ("text", EVERY_12TH, "29.97 fps, 3 fps", "wide, odd sizes", "image, then clip", "two clips")


class Bench:
    """A live engine of one family with sharp weights, its cases and its learner."""

    def __init__(self, folder: Path, family: str) -> None:
        build_family(folder / "model", family, sharp=True)
        self.folder = folder
        self.model = ModelConfig(path=str(folder / "model"), dtype="float32", max_context_tokens=2048)
        self.engine = RolloutEngine(self.model, RolloutConfig(max_tokens=24, max_num_seqs=16, kv_cache_gib=0.1))
        self.learner = LocalLearner(self.model, temperature=1.0)
        self.runner = asyncio.Runner()  # an engine lives in one event loop
        self.cases = {
            s.name: write_case(s, folder / f"case{i}", self.model) for i, s in enumerate(CASES) if s.name in NAMES
        }

    def gate(self, *cases: GateCase, learner: LocalLearner | None = None) -> ParityReport:
        engine, learner = InProcess(self.engine), learner or self.learner
        return self.runner.run(run_gate(cases, engine, learner, model=self.model, temperature=1.0))

    def close(self) -> None:
        self.engine.shutdown()
        self.runner.close()


@pytest.fixture(scope="module", params=FAMILIES)
def bench(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    bench = Bench(tmp_path_factory.mktemp(request.param), request.param)
    yield bench
    bench.close()


def test_a_sound_checkpoint_passes(bench: Bench):
    report = bench.gate(*bench.cases.values())
    assert report.passed, str(report)
    assert all(0 < result.mean_gap < 1e-5 for result in report.results), str(report)
    report.require()


def test_one_frame_off_shows_in_the_patches(bench: Bench):
    video = VideoSpec(seconds=5.0, rate=Fraction(10))
    true, late = (
        write_case(CaseSpec(name="clip", media=(video,), cut_s=cut), bench.folder / f"cut{cut[0]}", bench.model)
        for cut in ((0.0, 4.0), (0.1, 4.1))
    )
    assert bench.gate(true).passed
    report = bench.gate(replace(true, patches=late.patches))
    assert report.results[0].differs == "patches"
    with pytest.raises(ParityError, match="disagree on patches of case 'clip'"):
        report.require()


def test_other_normalisation_shows_in_the_pixels(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    half = (np.full(3, 2 / 255, np.float32), np.full(3, -1, np.float32))
    clip = (np.array([1, 1, 1], np.float32) / 255 / 0.27, np.full(3, -0.46 / 0.27, np.float32))
    constants = clip if bench.learner._policy.rule.family == "qwen3_vl" else half
    case = bench.cases["wide, odd sizes"]
    learner = LocalLearner(bench.model, temperature=1.0)
    for name, values in zip(("pixel_weight", "pixel_bias"), constants, strict=True):
        getattr(learner._policy, name).copy_(torch.from_numpy(values)[:, None])
    assert bench.gate(case, learner=learner).results[0].differs == "log-probs"
    monkeypatch.setattr("vrl.parity.gate.normalisation", lambda path: constants)
    assert bench.gate(case, learner=learner).results[0].differs == "pixels"


def test_a_stale_weight_shows_in_the_log_probs(bench: Bench):
    learner = LocalLearner(bench.model, temperature=1.0)
    with torch.no_grad():
        learner._policy.hf.model.language_model.layers[2].mlp.down_proj.weight.mul_(1.001)
    report = bench.gate(bench.cases["text"], learner=learner)
    assert report.results[0].differs == "log-probs"
    assert report.results[0].max_gap > 10 * report.results[0].limit


def from_transformers(path: str):
    """Return a `prompt_positions` that computes them with transformers."""
    hf = AutoModelForImageTextToText.from_pretrained(path)

    def positions(token_ids: np.ndarray, vision: tuple[VisionGrid, ...], rule: PositionRule) -> np.ndarray:
        kinds = np.where(token_ids == rule.image_token_id, 1, np.where(token_ids == rule.video_token_id, 2, 0))
        grids = {
            f"{kind}_grid_thw": torch.tensor([grid.grid_thw for grid in vision if grid.kind == kind])
            for kind in ("image", "video")
            if any(grid.kind == kind for grid in vision)
        }
        if rule.family == "qwen2_5_vl":
            grids["second_per_grid_ts"] = torch.tensor([g.seconds_per_grid for g in vision if g.kind == "video"])
        ids, types = (torch.from_numpy(array)[None] for array in (token_ids, kinds))
        return hf.model.get_rope_index(ids, mm_token_type_ids=types, **grids)[0][:, 0].numpy()

    return positions


def test_transformers_positions_show_immediately(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    theirs = from_transformers(bench.model.path)
    case = bench.cases[EVERY_12TH]
    if bench.learner._policy.rule.family == "qwen3_vl":  # here the two rules agree
        monkeypatch.setattr("vrl.parity.gate.prompt_positions", theirs)
        assert bench.gate(case).passed
        return
    monkeypatch.setattr("vrl.algo.packing.prompt_positions", theirs)
    report = bench.gate(case)
    assert report.results[0].differs == "log-probs"
    assert report.results[0].max_gap > 0.1
    monkeypatch.setattr("vrl.parity.gate.prompt_positions", theirs)
    assert bench.gate(case).results[0].differs == "positions"


def test_seconds_kept_in_double_shift_a_time_step(bench: Bench, monkeypatch: pytest.MonkeyPatch):
    if bench.learner._policy.rule.family != "qwen2_5_vl":
        return  # the only family whose positions count seconds

    def in_double(token_ids: np.ndarray, vision: tuple[VisionGrid, ...], rule: PositionRule) -> np.ndarray:
        """Return positions by the rule without rounding to float32, for a prompt of one clip."""
        positions = prompt_positions(token_ids, vision, rule).copy()
        (grid,) = vision
        t, h, w = grid.grid_thw
        slots = np.flatnonzero(token_ids == rule.video_token_id)
        steps = (np.arange(t) * (grid.seconds_per_grid * rule.tokens_per_second)).astype(np.int64)
        positions[0, slots] = slots[0] + np.repeat(steps, h * w // 4)
        return positions

    monkeypatch.setattr("vrl.parity.gate.prompt_positions", in_double)
    assert bench.gate(bench.cases["wide, odd sizes"]).passed  # one second per step: exact in both
    assert bench.gate(bench.cases[EVERY_12TH]).results[0].differs == "positions"
    monkeypatch.undo()
    monkeypatch.setattr("vrl.algo.packing.prompt_positions", in_double)
    assert bench.gate(bench.cases[EVERY_12TH]).results[0].differs == "log-probs"
