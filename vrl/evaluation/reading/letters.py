"""How published evaluations find the letter of an option, where several benchmarks share a rule.

The rules are reproduced with their faults, because published numbers have them: by `first_capital`, `Answer: B` is A.
Each takes time linear in the reply.
"""

import re
from collections.abc import Sequence

from vrl.evaluation.reading.rule import Reader
from vrl.types import Sample

PHRASES = ("The best answer is", "The correct answer is", "The answer is", "The answer")
"""What `first_capital` removes in most of lmms-eval. Two further strings of its list lack a comma and never match."""


def offered(letter: str, sample: Sample) -> str:
    """Return the letter if the sample has this option, else nothing."""
    return letter if len(letter) == 1 and 0 <= ord(letter) - 65 < len(sample.options) else ""


def first_capital(letters: str, phrases: Sequence[str] = PHRASES) -> Reader:
    """Return the rule by which the first of these capital letters anywhere in a reply counts, after `phrases` are
    removed from it in this order.
    """

    def read(reply: str, sample: Sample) -> str:
        for phrase in phrases:
            reply = reply.replace(phrase, "")
        return offered(next((char for char in reply if char in letters), ""), sample)

    return read


OPENINGS = (*PHRASES, "The best option is", "The correct option is", "Best answer:", "Best option:")
_SHORT = 10  # words


def leading_letter(reply: str, sample: Sample) -> str:
    """Return the letter by Video-R2's rule for MLVU and TempCompass: after known openings, the capital A to E that the
    reply begins with, even that of a word; in at most ten words, the first that stands alone; before the first `)`, a
    letter of any case.
    """
    reply = reply.strip()
    for opening in OPENINGS:
        reply = reply.removeprefix(opening).strip()
    first = reply.removeprefix("(")[:1]
    if first in tuple("ABCDE"):
        return offered(first, sample)
    alone = re.search(r"\b[A-E]\b", reply) if len(reply.split()) <= _SHORT else None
    if alone is not None:
        return offered(alone[0], sample)
    before, bracket, _ = reply.partition(")")
    return offered(before[-1:].upper() if bracket and before[-1:].upper() in tuple("ABCDE") else "", sample)
