"""The referee's question: its wording and options; it must not reveal the truth."""

from vrl.tasks.referee import NO, YES, answer_words, referee_sample
from vrl.types import Caption, Media, Sample

SAMPLE = Sample(
    sample_id="q1",
    task="think_keyframes",
    question="What color is the circle?",
    answer="B",
    answer_type="choice",
    options=("red", "blue"),
    media=(Media(kind="image", path="a.png"), Media(kind="video", path="a.mp4"), Media(kind="video", path="b.mp4")),
    spans=((0.0, 1.0),),
    captions=(Caption(start_s=0.0, end_s=1.0, text="There is a blue circle."),),
    key_elements=("circle",),
    thinking="It is blue.",
)


def test_it_asks_about_the_first_clip_whether_an_answer_holds():
    asked = referee_sample(SAMPLE, answer_words(SAMPLE, "A"))
    assert asked == Sample(
        sample_id="q1",
        task="vqa",
        question="What color is the circle?\nSomeone answers: red\nDo these frames show it?",
        answer_type="choice",
        options=("yes", "no"),
        media=(Media(kind="video", path="a.mp4"),),
    )
    assert asked.options[ord(YES) - 65] == "yes" and asked.options[ord(NO) - 65] == "no"


def test_it_may_be_asked_as_another_task_and_with_its_truth():
    asked = referee_sample(SAMPLE, "blue", task="think", verdict=YES)
    assert (asked.task, asked.answer) == ("think", "A")


def test_an_open_answer_is_in_words_already():
    assert answer_words(Sample(sample_id="q", task="vqa", question="?", answer_type="text"), "blue") == "blue"
