"""The words of a prompt from templates: fields, files, faults, and the text that a checkpoint gets in the end."""

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from support.clips import FOUR_FRAMES, write_clip

from vrl.config import DataConfig, ModelConfig, PromptConfig
from vrl.data.prompt import PromptBuilder
from vrl.data.wording import Wording, describe, prompt_settings, read_wording, target_text, user_text
from vrl.data.worker import DataWorker
from vrl.errors import ConfigError, DataError
from vrl.tasks import TASKS
from vrl.tasks.task import Clip
from vrl.types import Caption, Media, Sample

CLIP = Clip(duration_s=2.0, timestamps_s=(0.0, 0.5, 1.0, 1.5), subtitles=("Hello.", "Bye."))
ASKED = Sample(
    sample_id="s", task="vqa", question="Which is $red?", options=("circle", "star"), answer="B", answer_type="choice"
)


def written(folder: Path, name: str, text: str) -> str:
    (folder / name).write_text(text, encoding="utf-8")
    return str(folder / name)


def test_without_keys_every_task_has_its_own_words():
    own = read_wording(PromptConfig())
    assert own == Wording() and prompt_settings(PromptConfig()) == {}
    full = replace(
        ASKED,
        spans=((0.5, 1.0),),
        captions=(Caption(start_s=0.0, end_s=1.0, text="A star."),),
        key_elements=("star",),
    )
    for name, task in TASKS.items():
        sample = replace(full, task=name)
        assert user_text(own, sample, task, CLIP) == task.instruction(sample, CLIP)
        assert target_text(own, sample, task, CLIP) == task.target(sample, CLIP)
        assert own.prefix(task) == task.prefix


def test_a_template_is_filled_field_by_field(tmp_path: Path):
    text = "$question|$options|$hint|$duration|$frames|$times|$subtitles|${event}s|$$5\n\n"
    wording = read_wording(PromptConfig(template=written(tmp_path, "a.txt", text)))
    assert user_text(wording, ASKED, TASKS["vqa"], CLIP) == (
        "Which is $red?|A. circle\nB. star|Answer with the letter of the option.|2.00|4|0.00s,0.50s,1.00s,1.50s|"
        "Hello.\nBye.|Which is $red?s|$5\n"  # one line break of the two at the end stays
    )


def test_the_event_is_the_question_without_the_words_that_ask_for_it():
    event = replace(ASKED, task="grounding", question="When does this happen in the video: A door opens.", options=())
    assert user_text(Wording(template="<$event>"), event, TASKS["grounding"], CLIP) == "<A door opens.>"


def test_the_most_specific_template_and_hint_apply(tmp_path: Path):
    config = PromptConfig(
        template=written(tmp_path, "all.txt", "all $question"),
        templates={
            "vqa": written(tmp_path, "vqa.txt", "vqa $question$hint"),
            "vqa/choice": written(tmp_path, "choice.txt", "choice $question$hint"),
        },
        hints={"choice": " One letter."},
    )
    wording = read_wording(config)
    number = replace(ASKED, answer_type="number", options=())
    assert user_text(wording, ASKED, TASKS["vqa"], CLIP) == "choice Which is $red? One letter."
    assert user_text(wording, number, TASKS["vqa"], CLIP) == "vqa Which is $red?Answer with a number."
    assert user_text(wording, ASKED, TASKS["think"], CLIP) == "all Which is $red?"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("$question $anser", "got the fields ['anser'], wanted some of $question"),
        ("It costs $5.\n$question", "got a dollar sign without a field in 'It costs $5.'"),
        ("<|im_end|>$question", "got ['<|im_end|>'], wanted text without the tokens"),
        ("", "got the empty file"),
    ],
)
def test_a_faulty_template_names_its_file(tmp_path: Path, text: str, said: str):
    path = written(tmp_path, "faulty.txt", text)
    with pytest.raises(ConfigError) as caught:
        read_wording(PromptConfig(template=path))
    assert said in str(caught.value) and path in str(caught.value)


def test_all_faults_are_listed_together(tmp_path: Path):
    config = PromptConfig(
        system=str(tmp_path / "none.txt"),
        templates={"vqua": written(tmp_path, "a.txt", "$question")},
        prefix={"think": "<think>so</think><answer>", "vqa": "<think>"},
        targets={"vqa": "$optoin"},
    )
    with pytest.raises(ConfigError) as caught:
        read_wording(config)
    text = str(caught.value)
    for part in (
        "none.txt",
        "['vqua']",
        "prefix.think: got ['<think>', '<answer>']",
        "prefix.vqa: got",
        "prompt.targets.vqa",
        "['optoin']",
    ):
        assert part in text
    with pytest.raises(ConfigError, match=r"prompt\.hints: got hints without prompt\.template"):
        read_wording(PromptConfig(hints={"choice": "x"}))


def test_a_target_is_what_the_template_says():
    task = TASKS["vqa"]
    assert target_text(Wording(targets={"vqa": "$option"}), ASKED, task, CLIP) == " B. star"
    assert target_text(Wording(targets={"vqa": "$option_text ($answer, $target)"}), ASKED, task, CLIP) == " star (B, B)"
    event = replace(ASKED, task="grounding", spans=((0.5, 1.0),), options=(), answer_type="span")
    told = Wording(targets={"grounding": "It takes $target"})
    assert target_text(told, event, TASKS["grounding"], CLIP) == (" It takes <|event_start|>[0.25, 0.50]<|event_end|>")
    led = replace(event, reply="It happens at <|event_start|>[1, 2]<|event_end|>.")
    exact = Wording(targets={"grounding": "$lead a share of $target"})
    assert target_text(exact, led, TASKS["grounding"], CLIP) == (
        " It happens at a share of <|event_start|>[0.25, 0.50]<|event_end|>"
    )
    raw = replace(ASKED, reply="<think>so</think>\n<answer>B. star</answer>")
    assert target_text(Wording(targets={"think": "$reply"}), raw, TASKS["think"], CLIP) == raw.reply
    with pytest.raises(DataError, match=r"got no reply, wanted it for prompt\.targets\.think"):
        target_text(Wording(targets={"think": "$reply"}), ASKED, TASKS["think"], CLIP)


@pytest.mark.parametrize(
    ("prefix", "target"), [("", "B"), ("So:", " B"), ("So: ", "B"), ("So:\n", "B"), ("The answer is:", " B")]
)
def test_one_space_separates_prefix_and_target(prefix: str, target: str):
    assert target_text(Wording(prefixes={"vqa": prefix}), ASKED, TASKS["vqa"], CLIP) == target


def test_a_thought_that_the_prefix_opens_is_not_opened_twice():
    thought = replace(ASKED, task="think", thinking="Look.")
    for prefix in ("<think>", "<think>\n"):
        wording = read_wording(PromptConfig(prefix={"think": prefix}))
        assert target_text(wording, thought, TASKS["think"], CLIP) == "Look.</think><answer>B</answer>"


def test_a_checkpoint_sees_system_template_and_prefix(checkpoints: dict[str, Path]):
    wording = Wording(
        system="Be brief. ", template="Q: $question\n", prefixes={"vqa": "So: "}, targets={"vqa": "$option"}
    )
    model = ModelConfig(path=str(checkpoints["qwen2_vl"]), max_context_tokens=4096)
    builder = PromptBuilder(model, FOUR_FRAMES, 16, wording)
    prompt, _ = builder.build(ASKED, TASKS["vqa"], [])
    whole = (
        "<|im_start|>system\nBe brief. <|im_end|>\n<|im_start|>user\nQ: Which is $red?\n<|im_end|>\n"
        "<|im_start|>assistant\nSo: "
    )
    decode = builder._tokenizer.decode
    assert prompt.text == whole and decode(prompt.token_ids) == whole
    for train_prefix in (True, False):
        sft, _ = builder.build_sft(ASKED, TASKS["vqa"], [], train_prefix=train_prefix)
        assert decode([*sft.token_ids, *sft.target_token_ids]) == f"{whole}B. star<|im_end|>"
        assert [*sft.token_ids, *sft.target_token_ids][: len(prompt.token_ids)] == prompt.token_ids.tolist()


def test_the_text_may_come_before_the_clip(checkpoints: dict[str, Path], tmp_path: Path):
    write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])
    asked = replace(ASKED, media=(Media(kind="video", path="a.mp4"),))
    model = ModelConfig(path=str(checkpoints["qwen2_vl"]), max_context_tokens=4096)
    data = DataConfig(train=str(tmp_path / "t.parquet"), frames=FOUR_FRAMES)
    texts = []
    for first in (False, True):
        worker = DataWorker(model, data, max_tokens=16, wording=Wording(template="Q", text_first=first))
        try:
            prompt, patches = worker.prepare(asked)
        finally:
            worker.close()
        texts.append(prompt.text)
        assert len(patches) == prompt.vision[0].num_patches
    assert "<|vision_end|>Q<|im_end|>" in texts[0] and "user\nQ<|vision_start|>" in texts[1]


def test_subtitles_of_the_cut_are_shown_where_a_template_asks_for_them(checkpoints: dict[str, Path], tmp_path: Path):
    write_clip(tmp_path / "a.mp4", [i / 8 for i in range(16)])
    times = (("0,000", "0,400", "early"), ("0,400", "1,200", "across"), ("1,500", "1,900", "late"))
    cues = [f"00:00:0{start} --> 00:00:0{end}\n{text}" for start, end, text in times]
    (tmp_path / "a.srt").write_text("\n\n".join(cues))
    media = Media(kind="video", path="a.mp4", start_s=0.5, end_s=1.5)
    model = ModelConfig(path=str(checkpoints["qwen2_vl"]), max_context_tokens=4096)
    data = DataConfig(train=str(tmp_path / "t.parquet"), frames=FOUR_FRAMES)
    shown = {}
    for name, template in (("shown", "[$subtitles] $question"), ("plain", "$question")):
        worker = DataWorker(model, data, max_tokens=16, wording=Wording(template=template))
        try:
            shown[name] = worker.prepare(replace(ASKED, media=(media,)))[0].text
        finally:
            worker.close()
    assert "[across] Which" in shown["shown"] and "across" not in shown["plain"]


def test_the_words_of_the_fixed_question_come_with_their_digest():
    lines = describe(Wording(system="Be brief.", template="$question $options"), "think/number").splitlines()
    assert lines[0] == f"system {hashlib.sha256(b'Be brief.').hexdigest()}" and lines[1] == "Be brief."
    assert lines[3] == f"user {hashlib.sha256(b'Which shape is red? ').hexdigest()}"
    assert "A. circle" in describe(Wording(template="$options"), "vqa")
    with pytest.raises(ConfigError, match="--prompt: got 'vqua'"):
        describe(Wording(), "vqua")
