"""Our own rule of reading, for questions whose authors publish none: answers as instruct models write them.

A superset of strict reading. What names several options names none, and a letter in passing (`the man in scene B`) is
no answer.
"""

import re

from vrl.evaluation.reading.letters import offered
from vrl.evaluation.reading.rule import ReplyRule
from vrl.tasks import answer as strict
from vrl.tasks.normal_form import fold_width, normalise
from vrl.types import Sample

_MARKUP = re.compile(r"\\(?:boxed|text|textbf|mathrm|mathbf)\s*\{|\\[()\[\]]|</?answer>|[*`${}]|__")
_SAID = re.compile(
    r"(?i:\b(?:(?:answer|option|choice)\s*(?:is|[:=])|(?:option|choice)\s)\s*:?\s*(?:option\s*)?)[(\[\"']?"
    r"(?:([A-Z])(?![\w'])|([a-z])(?![\w']|\s+[A-Za-z]))"
)
_BRACKETED = re.compile(r"(?<!\w)[(\[]\s*([A-Za-z])\s*[)\]](?!\w)")
_LABEL = re.compile(r"(?<![\w.'])([A-Z])(?=[.):](?:\s|$))")
_LISTED = re.compile(r"(?<!\w)([A-Z])\s*(?:,|/|&|\bor\b|\band\b)\s*([B-Z](?!\w)|A(?!\w|\s+[a-z]))")
_FIRST = re.compile(r"([A-Za-z])(\s*$|[.):,]|\s*\n|\s)")
_NUMBER = re.compile(r"(?<![\w.,])[+-]?(?:(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?|\.\d+)(?!\d|,\d|[eE][+-]?\d)")


def letter(reply: str, sample: Sample) -> str:
    """Return the option that a reply names: a letter of either case alone, in brackets or markup, with its text or a
    reason behind it, after `answer`, `option` or `choice`; or the option's own words.
    """
    text = _plain(reply)
    for form in (reply, text):
        if (plain := strict.choice_letter(form, sample.options)) is not None:
            return plain
    listed = {one for pair in _LISTED.findall(text) for one in pair if offered(one, sample)}
    if len(listed) > 1:
        return ""
    said = [(capital or small).upper() for capital, small in _SAID.findall(text)]
    marked = [*_BRACKETED.findall(text), *_LABEL.findall(text), *_leading(text, sample)]
    for found in (said, marked):
        named = {one.upper() for one in found if offered(one.upper(), sample)}
        if named:
            return named.pop() if len(named) == 1 else ""
    return ""


def number(reply: str, sample: Sample) -> str:
    """Return the one number in a reply, with any unit or words around it; of several different ones, none."""
    text = _plain(reply)
    digits = strict.number(text)
    if digits is not None:
        return digits
    found = {strict.number(one) for one in _NUMBER.findall(text)}
    return (found.pop() or "") if len(found) == 1 else ""


def _leading(text: str, sample: Sample) -> list[str]:
    """Return the letter that a text begins with, unless it is a word: `A dog`, or a lower-case one before a space."""
    match = _FIRST.match(text)
    if match is None:
        return []
    rest = text[match.end() :].strip()
    if match[2].strip() or not rest or "\n" in match[2]:
        return [match[1]]
    first = match[1].upper()
    option = sample.options[ord(first) - 65] if offered(first, sample) else ""
    if normalise(option) and normalise(rest).startswith(normalise(option)):
        return [match[1]]
    return [match[1]] if match[1].isupper() and match[1] not in "AI" else []


def _plain(reply: str) -> str:
    """Return a reply without markup, full-width forms and runs of white space, so that patterns take linear time."""
    text = _MARKUP.sub("", fold_width(reply))
    return "\n".join(" ".join(line.split()) for line in text.splitlines() if line.strip())


OURS = ReplyRule(source="no published rule: ours", choice=letter, number=number)
