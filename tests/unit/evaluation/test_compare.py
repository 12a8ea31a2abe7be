"""Two runs compared, and the files that a run writes."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vrl.data.rows import Reading
from vrl.errors import DataError
from vrl.evaluation.benchmarks import BENCHMARKS
from vrl.evaluation.compare import as_markdown, compare
from vrl.evaluation.config import BenchmarkConfig, BootstrapConfig, EvalConfig
from vrl.evaluation.metrics import summarise
from vrl.evaluation.results import make_results, markdown, write_results
from vrl.evaluation.scored import Scored, write_scores

BENCHMARK = BENCHMARKS["dataset"]
READING = Reading(kept=(), num_rows=8, bad=(), notes={})


def item(number: int, score: float | None, **fields) -> Scored:
    failed = score is None
    return replace(
        Scored(
            sample_id=f"q{number}", question=f"Which <b>{number}</b>?", options=("red", "blue"), truth="A",
            answer_type="choice", video=f"{number}.mp4", groups={"form": ("vqa",)}, answer="A | B",
            text="<script>alert(1)</script>", score=score, values={} if failed else {"accuracy": score},
            failure="decode" if failed else "", message="no frames" if failed else "",
        ),
        **fields,
    )  # fmt: skip


def run(folder: Path, scores: list[float | None]) -> Path:
    return write(folder, [item(number, score) for number, score in enumerate(scores)])


def write(folder: Path, scored: list[Scored]) -> Path:
    folder.mkdir()
    config = EvalConfig(name=folder.name, bootstrap=BootstrapConfig(resamples=500))
    summary = summarise(scored, BENCHMARK, config.bootstrap, seed=0)
    write_scores(folder, scored)
    write_results(folder, make_results(config, BENCHMARK, scored, summary, READING), scored)
    return folder


def test_items_scored_in_both_are_compared_in_pairs(tmp_path):
    first = run(tmp_path / "a", [1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, None, 1.0])
    second = run(tmp_path / "b", [0.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = compare(first, second)
    assert (found.count, found.unscored) == (8, 1)
    assert (found.score.first, found.score.second, found.score.difference.value) == (0.25, 0.875, 0.625)
    assert found.right is not None and (found.right.only_first, found.right.only_second) == (1, 6)
    assert found.right.p_value == pytest.approx(2 * 8 / 2**7)
    assert found.score.difference.low > 0 and found.score.difference.p_value < 0.05
    assert "| score | 25.0 % | 87.5 % | 62.5 % |" in as_markdown(found)
    assert [one.name for one in found.metrics] == ["accuracy"]
    assert found.readings == ("published", "published") and "read differently" not in as_markdown(found)
    old = json.loads((first / "results.json").read_text())
    (first / "results.json").write_text(json.dumps({key: old[key] for key in old if key != "reading"}))
    line = "Replies were read differently: strict in the first run, published in the second."
    assert line in as_markdown(compare(first, second))


def test_graded_scores_have_no_right_and_wrong(tmp_path):
    found = compare(run(tmp_path / "a", [0.5, 1.0]), run(tmp_path / "b", [0.5, 0.25]))
    assert found.right is None and "McNemar" not in as_markdown(found)


def test_runs_over_other_items_are_refused(tmp_path):
    first, second = run(tmp_path / "a", [1.0, 0.0]), run(tmp_path / "b", [1.0, 0.0, 1.0])
    with pytest.raises(DataError, match=r"1 differ \(first q2\)"):
        compare(first, second)
    write_scores(second, [item(0, 1.0), item(1, 0.0, truth="B")])
    with pytest.raises(DataError, match=r"1 differ \(first q1\)"):
        compare(first, second)
    with pytest.raises(DataError, match="wanted the folder of a finished vrl eval"):
        compare(first, tmp_path)


def test_results_hold_every_number_and_every_failure(tmp_path):
    folder = run(tmp_path / "a", [1.0, 0.0, None])
    results = json.loads((folder / "results.json").read_text())
    assert (results["items"], results["unscored"], results["overall"]["value"]) == (3, 1, 0.5)
    assert results["failures"]["by_reason"] == {"decode": 1}
    assert results["failures"]["listed"] == [{"sample_id": "q2", "reason": "decode", "message": "no frames"}]
    assert results["groups"]["form"]["vqa"]["count"] == 2
    text = (folder / "results.md").read_text()
    assert "| **score** | 50.0 % |" in text and "| q2 | decode | no frames |" in text


def test_stages_have_units_and_are_compared_if_both_runs_have_them(tmp_path):
    stages = ({"latency/prepare": 0.5, "latency/locate": 2.0}, {"latency/prepare": 0.25})
    for name, values in zip("ab", stages, strict=True):
        write(tmp_path / name, [item(n, 1.0, values={"accuracy": 1.0, **values}) for n in range(2)])
    results = json.loads((tmp_path / "a" / "results.json").read_text())
    assert results["metrics"]["latency/locate"]["unit"] == "s"
    assert "| latency/locate | 2.00 s | 2.00 s | 2.00 s | 2 |" in (tmp_path / "a" / "results.md").read_text()
    found = compare(tmp_path / "a", tmp_path / "b")
    assert [(one.name, one.difference.value) for one in found.metrics] == [
        ("accuracy", 0.0),
        ("latency/prepare", -0.25),
    ]


def test_nothing_that_a_model_wrote_can_act_in_the_page(tmp_path):
    page = (run(tmp_path / "a", [1.0, 0.0]) / "eval.html").read_text()
    assert "alert(1)" in page and "<script>alert" not in page
    assert page.count("</script>") == 2 and "default-src 'none'" in page
    assert not re.search(r"@@[\w.]+@@", page)


def test_results_say_how_replies_were_read_and_which_items_were_kept():
    preset = {"dataset": {"form": ["vqa", "think"]}}
    config = EvalConfig(name="x", benchmark=BenchmarkConfig(keep_in=preset), bootstrap=BootstrapConfig(resamples=100))
    scored = [item(0, 1.0), item(1, 0.0)]
    results = make_results(config, BENCHMARK, scored, summarise(scored, BENCHMARK, config.bootstrap, seed=0), READING)
    assert results["reading"] == {"rule": "published", "source": "no published rule: ours"}
    assert "Replies: read by the published rule (no published rule: ours). Kept: form vqa, think." in markdown(results)
    strict = replace(config, benchmark=BenchmarkConfig(reading="strict"))
    results = make_results(strict, BENCHMARK, scored, summarise(scored, BENCHMARK, config.bootstrap, seed=0), READING)
    assert results["reading"] == {"rule": "strict", "source": "vrl/tasks/answer.py"} and "Kept" not in markdown(results)
