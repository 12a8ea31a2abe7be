"""Text similarity: word error rate and ROUGE. Pure; rapidfuzz counts, so time stays bounded."""

import unicodedata
from collections import Counter
from functools import cache
from itertools import islice, pairwise
from typing import Any

import regex
from rapidfuzz.distance import LCSseq, Levenshtein

_UNSPACED = "".join(
    rf"\p{{{script}}}"
    for script in ("Han", "Hiragana", "Katakana", "Bopomofo", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan")
)
_WORD = regex.compile(rf"(?V1)[{_UNSPACED}]|[[\w\p{{M}}]--[{_UNSPACED}]]+")
_UNSPACED_CHARACTER, _CHARACTER = regex.compile(f"[{_UNSPACED}]"), regex.compile(r"\w")
_MAX_WORDS = 2000  # compared words of a text


def words(text: str) -> list[str]:
    """Return at most 2000 words for comparison: NFKC, case folded, letters, marks and digits only.

    A character of a script that puts no spaces between words (Chinese, Japanese, Thai and others) is a word.
    """
    folded = unicodedata.normalize("NFKC", text).casefold()
    return [found[0] for found in islice(_WORD.finditer(folded), _MAX_WORDS)]


def is_unspaced(text: str) -> bool:
    """Return whether most letters and digits of the text are of a script that puts no spaces between words."""
    return 2 * len(_UNSPACED_CHARACTER.findall(text)) > len(_CHARACTER.findall(text))


def word_error_rate(answer: str, truth: str, *, raw: bool = False) -> float:
    """Return the word edits from the answer to the truth, divided by the words of the truth; in [0, inf).

    0 if both are empty, 1 if only the truth is. `raw`: words are what white space separates, as written, at most 2000.
    Source: Video-R1's code.
    """
    got, wanted = (text.split()[:_MAX_WORDS] if raw else words(text) for text in (answer, truth))
    if not wanted:
        return float(bool(got))
    return Levenshtein.distance(got, wanted) / len(wanted)


def rouge(answer: str, truth: str, *, stems: bool = False) -> float:
    """Return the mean of the F1 of ROUGE-1, ROUGE-2 and ROUGE-L, in [0, 1].

    Words are those of `words` or, with `stems`, of the package rouge-score with its stemmer, which knows ASCII alone
    (Video-R1's code). Lin 2004, "ROUGE: A Package for Automatic Evaluation of Summaries", F1 form. A text of fewer than
    two words has a ROUGE-2 of 0, as in the usual implementations.
    """
    got, wanted = (_stemmer().tokenize(text)[:_MAX_WORDS] if stems else words(text) for text in (answer, truth))
    pairs = Counter(pairwise(got)), Counter(pairwise(wanted))
    longest = LCSseq.similarity(got, wanted)
    return (
        _f1((Counter(got) & Counter(wanted)).total(), len(got), len(wanted))
        + _f1((pairs[0] & pairs[1]).total(), pairs[0].total(), pairs[1].total())
        + _f1(longest, len(got), len(wanted))
    ) / 3


@cache
def _stemmer() -> Any:
    from rouge_score.tokenizers import DefaultTokenizer  # loads nltk: seconds, needed by few runs

    return DefaultTokenizer(use_stemmer=True)


def _f1(common: int, num_got: int, num_wanted: int) -> float:
    return 2 * common / (num_got + num_wanted) if common else 0.0
