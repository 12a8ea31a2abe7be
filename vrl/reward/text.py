"""Text similarity: word error rate and ROUGE. Pure; rapidfuzz counts, so time stays bounded."""

import re
import unicodedata
from collections import Counter
from itertools import pairwise

from rapidfuzz.distance import LCSseq, Levenshtein

_WORD = re.compile(r"\w+")
_MAX_WORDS = 2000  # compared words of a text


def words(text: str) -> list[str]:
    """Return at most 2000 words for comparison: NFKC, case folded, letters and digits only."""
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [found[0] for found, _ in zip(_WORD.finditer(folded), range(_MAX_WORDS), strict=False)]


def word_error_rate(answer: str, truth: str) -> float:
    """Return the word edits from the answer to the truth, divided by the words of the truth; in [0, inf).

    0 if both are empty, 1 if only the truth is.
    """
    got, wanted = words(answer), words(truth)
    if not wanted:
        return float(bool(got))
    return Levenshtein.distance(got, wanted) / len(wanted)


def rouge(answer: str, truth: str) -> float:
    """Return the mean of the F1 of ROUGE-1, ROUGE-2 and ROUGE-L, in [0, 1]; words as from `words`, no stemming.

    Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", F1 form. A text of fewer than two words has
    a ROUGE-2 of 0, as in the usual implementations.
    """
    got, wanted = words(answer), words(truth)
    pairs = Counter(pairwise(got)), Counter(pairwise(wanted))
    longest = LCSseq.similarity(got, wanted)
    return (
        _f1((Counter(got) & Counter(wanted)).total(), len(got), len(wanted))
        + _f1((pairs[0] & pairs[1]).total(), pairs[0].total(), pairs[1].total())
        + _f1(longest, len(got), len(wanted))
    ) / 3


def _f1(common: int, num_got: int, num_wanted: int) -> float:
    return 2 * common / (num_got + num_wanted) if common else 0.0
