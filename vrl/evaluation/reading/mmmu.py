"""How MMMU's evaluation reads replies, which VideoMMMU uses: choices by their mark, open answers by what they contain.

Source: `videommmu/utils.py` of lmms-eval, in Video-R2's copy (`mbzuai-oryx/Video-R2`), after `eval/eval_utils.py` of
`MMMU-Benchmark/MMMU`.
"""

import ast
import math
import re
from collections.abc import Iterable

from vrl.evaluation.reading.letters import offered
from vrl.types import Sample

_ENDS = (",", ".", "!", "?", ";", ":", "'")  # taken off both ends of a reply, in this order
_LONG = 5  # words; a longer reply may name an option by its text
_DIGITS = 64  # of a number that is read
_BEFORE = (
    *("could be ", "so ", "is ", "thus ", "therefore ", "final ", "answer ", "result ", "are ", "in total ", "total "),
    *("identify ", "recognize ", "calculated as ", "counted as ", "measured as ", "observed as ", "concluded as "),
    *("found to be ", "equals ", "determined to be ", "number of ", "value is ", "adds up to ", "have ", "has "),
)
_NUMBERS = (
    re.compile(r"-?\b\d{1,3}(?:,\d{3})+\b"),  # 1,234
    re.compile(r"-?\d+(?:\.\d+)?e[+-]?\d+"),  # 1.5e3
    re.compile(r"-?(?:\d+\.\d+|\.\d+|\d+\b)(?!e[+-]?\d)(?![,\d])"),  # 3, 3.5, .5
)


def letter(reply: str, sample: Sample) -> str:
    """Return the letter that is marked in a reply: `B.` or `B:`, else `(B)`, else `B` before a space, else the option
    whose text a reply of more than five words contains. Of several the last counts. None: no letter, where MMMU's own
    evaluation draws one at random.
    """
    for end in _ENDS:
        reply = reply.strip(end)
    text = f" {reply} "
    letters = [chr(65 + i) for i in range(len(sample.options))]
    dotted = [one for one in letters if f"{one}." in text]
    named, place = dotted + [one for one in letters if f"{one}:" in text], "{}." if dotted else "{}:"
    for mark, where in (("({})", "({})"), ("{} ", " {} ")):
        if not named:
            named, place = [one for one in letters if mark.format(one) in text], where
    if named:
        return offered(max(named, key=lambda one: text.rfind(place.format(one))), sample)
    if len(text.split()) <= _LONG:
        return ""
    places = [text.lower().rfind(option.lower()) for option in sample.options]
    return letters[places.index(max(places))] if max(places, default=-1) >= 0 else ""


def same(reply: str, truth: str) -> bool:
    """Return whether a reply gives an open answer, which may be a list of which any counts: it contains the text, or
    has the number after rounding to two decimals.

    What is looked at is the shortest end of each line behind a word such as `is`, or the whole reply without any.
    """
    wanted = {form for one in _alternatives(truth) for form in _forms(one)}
    ends = _ends(reply)
    said = [form for text in (*ends, *_numbers(ends)) for form in _forms(text)]
    texts = [one for one in wanted if isinstance(one, str)]
    return any(any(text in one for text in texts) if isinstance(one, str) else one in wanted for one in said)


def _alternatives(truth: str) -> list[str]:
    """Return the answers that a truth lists, as annotation files spell a list: `['3', 'three']`."""
    if truth.startswith("[") and truth.endswith("]"):
        try:
            listed = ast.literal_eval(truth)
        except (ValueError, SyntaxError, MemoryError, RecursionError):
            return [truth]
        if listed and all(isinstance(one, str | int | float) for one in listed):
            return [str(one) for one in listed]
    return [truth]


def _ends(reply: str) -> list[str]:
    """Return the parts of a reply that may hold the answer, in lower case."""
    whole = reply.strip().strip(".").lower()
    lines = whole.split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        before = (*_BEFORE, "=") if number == len(lines) else _BEFORE
        tails = [line.rpartition(word)[2].strip() for word in before if word in line]
        shortest = ""
        for tail in tails:  # an empty tail wins too, but gives way to the next
            shortest = tail if not shortest or len(tail) < len(shortest) else shortest
        if shortest and shortest not in (":", ",", ".", "!", "?", ";", "'"):
            found.append(shortest)
    return found or ([whole] if whole else [])


def _numbers(texts: Iterable[str]) -> list[str]:
    return [found for text in texts for pattern in _NUMBERS for found in pattern.findall(text)]


def _forms(text: str) -> list[str | float]:
    """Return what a text is compared as: a number, or itself in lower case; one character needs a space next to it."""
    text = text.strip()
    try:
        value = float(text.replace(",", "")) if len(text) <= _DIGITS else math.nan
    except ValueError:
        value = math.nan
    if math.isfinite(value):
        return [round(value, 2)]
    text = text.lower()
    return [f" {text}", f"{text} "] if len(text) == 1 else [text] if text else []
