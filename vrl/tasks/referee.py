"""The referee's question of RLER-Inference: do these frames show that an answer is right? Yes or no, as options.

Not a task: it is asked as `vqa`, or as any other task with options. The paper's referee is known from
notes only; the wording is our definition.
"""

from dataclasses import replace

from vrl.types import Sample

YES, NO = "A", "B"
_ASKED = "{question}\nSomeone answers: {answer}\nDo these frames show it?"
_OPTIONS = ("yes", "no")


def referee_sample(sample: Sample, answer: str, task: str = "vqa", verdict: str = "") -> Sample:
    """Return the question whether `answer`, in words, is right for the sample's first clip, which citations refer to.

    `verdict`: the truth, YES or NO, if the row is for training. The sample's other truth is removed.
    """
    return replace(
        sample,
        task=task,
        question=_ASKED.format(question=sample.question, answer=answer),
        answer=verdict,
        answer_type="choice",
        options=_OPTIONS,
        media=tuple(media for media in sample.media if media.kind == "video")[:1],
        spans=(),
        captions=(),
        key_elements=(),
        thinking="",
    )


def answer_words(sample: Sample, answer: str) -> str:
    """Return an answer in words: the text of the option if it is a letter."""
    return sample.options[ord(answer) - 65] if sample.answer_type == "choice" else answer
