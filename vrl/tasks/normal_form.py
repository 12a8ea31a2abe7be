"""The form in which two texts are compared: what is only spelled differently has one form."""

import unicodedata

import regex

_ORDINARY = {0xFF00 + code: 0x20 + code for code in range(1, 95)} | {0x3000: 0x20, 0x2212: 0x2D}
_ARTICLE = regex.compile(r"(?<!\w)(?:a|an|the)\s+(?=\S)")  # not `a, b` or `vitamin a`
# Marks that separate or decorate words. Not: symbols with a meaning, marks between digits, a sign or point before one.
_SEPARATOR = regex.compile(
    r"(?V1)(?!(?<=\d)[.,:/\-](?=\d))(?!(?<![\w.])[.\-](?=\.?\d))[[\p{P}`~^|]--[#%&@]]",
)


def fold_width(text: str) -> str:
    """Return the text with full-width letters, digits and marks as ordinary ones, stripped; a minus sign as a hyphen.

    Unlike NFKC, it keeps superscripts: `3²` is not 32.
    """
    return text.translate(_ORDINARY).strip()


def normalise(text: str) -> str:
    """Return the text for exact match: NFKC, case folded, punctuation as space, no articles, single spaces.

    Symbols stay, and so does punctuation of a number: `C++` is not `C`, `-5` not `5`, `3.4` not `3:4`. An article comes
    before a word. A text of which nothing is left, such as `...`, is returned folded alone. Our definition, after the
    usual one in extractive question answering (SQuAD, arXiv 1606.05250).
    """
    folded = unicodedata.normalize("NFKC", fold_width(text)).casefold()
    return " ".join(_SEPARATOR.sub(" ", _ARTICLE.sub("", folded)).split()) or folded
