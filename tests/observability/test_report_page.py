"""The report in a real browser: it filters, sorts and zooms, logs no error, makes no request, runs no model text."""

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from playwright.sync_api import Page, sync_playwright

from vrl.observability.spans import add_span, close_spans, open_spans
from vrl.report.page import write_report
from vrl.report.samples import write_samples
from vrl.types import Completion, Prompt, Reward, Rollout, RolloutGroup, Sample, VersionSpan, VisionGrid

HOSTILE = "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 2'><!-- <|im_end|>"
CITES = "<think>It turns.</think><keyframes>[2, 3]</keyframes><answer>red</answer>"


def rollout(text: str, reward: float, finish: str = "stop") -> Rollout:
    completion = Completion(
        token_ids=np.arange(len(text)),
        rollout_logprobs=np.zeros(len(text), np.float32),
        text=text,
        finish_reason=finish,
        versions=(VersionSpan(start=0, end=len(text), policy_version=0),),
    )
    return Rollout(completion=completion, reward=Reward(value=reward, breakdown={"accuracy": reward}))


def group(number: int, task: str, *rollouts: Rollout) -> RolloutGroup:
    sample = Sample(sample_id=HOSTILE, task=task, question=f"{HOSTILE} {number}", answer="red", spans=((1.0, 2.5),))
    prompt = Prompt(
        sample=sample,
        token_ids=np.arange(9),
        vision=(VisionGrid(kind="video", grid_thw=(2, 2, 2)),),
        timestamps_s=(0.0, 1.0, 2.0, 3.0),
        duration_s=4.0,
        text=HOSTILE,
    )
    return RolloutGroup(group_id=number, prompt=prompt, patches=None, ordinal=0, rollouts=rollouts)


def make_run(run_dir: Path, *, reward: float) -> Path:
    run_dir.mkdir()
    (run_dir / "config.yaml").write_text(f"name: {run_dir.name}\nsteps: 2\nlearner:\n  lr: {reward}\n")
    rows = [{"step": i, "reward/mean": reward * i, "judge/failures": 2.0, "step/seconds": 10.0} for i in (1, 2)]
    (run_dir / "metrics.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    groups = [
        group(1, "think_keyframes", rollout(CITES, 1.0), rollout(HOSTILE, 0.0)),
        group(2, "grounding", rollout("<|event_start|>[0.25, 0.5]<|event_end|>", 0.5, "length")),
    ]
    pixels = np.random.default_rng(0).integers(0, 255, (8, 1176), np.uint8)
    write_samples(run_dir, 1, groups, [np.array([1.0, -1.0]), np.zeros(1)], [pixels, pixels])
    for role, name, start, end in (
        ("driver", "wait_groups", 0, 4), ("rollout", "generate", 0, 4), ("learner", "forward_backward", 4, 9),
    ):  # fmt: skip
        open_spans(run_dir, role, 0)
        add_span(name, start, end)
        if role == "driver":
            add_span("step", 0, 10, step=1)
        close_spans()
    return run_dir


@pytest.fixture(scope="module")
def page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The report of two runs, open; any console message, page error or request fails a test."""
    chromium = shutil.which("chromium") or shutil.which("chromium-browser")
    if chromium is None:
        if os.environ.get("CI"):
            pytest.fail("chromium: got none, wanted Debian's package (apt-get install chromium)")
        pytest.skip("chromium is not installed (Debian: apt-get install chromium)")
    folder = tmp_path_factory.mktemp("runs")
    path = write_report(make_run(folder / "one", reward=0.25), make_run(folder / "two", reward=0.5))
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        opened = browser.new_page(viewport={"width": 1300, "height": 900})
        complaints: list[str] = []
        opened.complaints = complaints  # type: ignore[attr-defined]
        opened.on("console", lambda message: complaints.append(message.text))
        opened.on("pageerror", lambda error: complaints.append(str(error)))
        opened.on("request", lambda request: complaints.append(request.url))
        opened.goto(path.as_uri())
        yield opened
        browser.close()


def groups(page: Page) -> int:
    return page.locator("#groups article").count()


def test_the_page_makes_no_request_and_runs_no_model_text(page: Page):
    said = [text for text in page.complaints if not text.startswith(("file:", "data:"))]  # type: ignore[attr-defined]
    assert said == []
    assert page.evaluate("window.owned") is None
    assert page.locator("#groups img[src=x]").count() == 0 and page.locator("script").count() == 5
    shown = page.locator("#groups .says").all_inner_texts()
    assert any(HOSTILE.replace("<|im_end|>", "").strip() in text for text in shown)


def test_filters_find_and_sort(page: Page):
    assert groups(page) == 2
    page.select_option("#by-task", "grounding")
    assert groups(page) == 1
    page.select_option("#by-task", "")
    for kind, count in (("unreadable", 1), ("cut", 1), ("missing", 0), ("flat", 1), ("", 2)):
        page.select_option("#only", kind)
        assert groups(page) == count, kind
    page.fill("#find", "It turns")
    assert groups(page) == 1
    page.fill("#find", "")
    page.select_option("#sort", "longest")
    assert "group 1" in page.locator("#groups article").first.inner_text()


def test_evidence_is_marked(page: Page):
    cited = page.locator("#groups article", has_text="group 1").locator("figure.cited")
    assert cited.count() == 2 and "cited #1" in cited.first.inner_text()
    first = page.locator("#groups article", has_text="group 1")
    assert first.locator("figure.inside").count() == 2  # 1 s and 2 s of a true span from 1 to 2.5 s
    assert first.locator("svg.times circle.cite").count() == 2
    assert page.locator("#groups article", has_text="group 2").locator("svg.times rect.guess").count() == 1


def test_a_frame_opens_and_closes(page: Page):
    page.locator("#groups figure img").first.click()
    assert page.locator("#zoom").is_visible()
    page.locator("#zoom").click()
    assert not page.locator("#zoom").is_visible()


def test_the_timeline_and_the_bottleneck(page: Page):
    assert page.locator("#time svg.timeline text.on").all_text_contents() == ["generate", "forward_backward"]
    assert "learner is the bottleneck" in page.locator("#time").inner_text()
    assert "no actor worked for 10 %" in page.locator("#time").inner_text()


def test_failures_and_the_other_run(page: Page):
    assert "questions without an answer from the judge" in page.locator("#faultlist").inner_text()
    assert (
        "two" in page.locator("#heldout").inner_text()
        and "learner.lr: 0.5 (here: 0.25)" in page.locator("#heldout").inner_text()
    )
    assert "two: mean" in page.locator("#charts .legend").first.inner_text()
