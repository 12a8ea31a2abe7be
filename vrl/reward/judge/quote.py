"""Quotes what strangers wrote in a question to the judge: the policy's text, and the dataset's question and answers.

Quoted text cannot end its quote, because the mark of a question is a digest of all that it quotes: a text that holds
its own mark cannot be found. It cannot act as a special token either, because special tokens are spelt with brackets,
which are replaced by similar ones. Both depend on the content alone, so that equal questions are equal requests, which
a cache can answer. Pure; our definition.
"""

import hashlib
import re
from collections.abc import Mapping

# Every character that a tokenizer may read as an angle bracket: some normalise wide and small forms (NFKC).
_ANGLES = str.maketrans("<\uff1c\ufe64>\uff1e\ufe65", "\u2039\u2039\u2039\u203a\u203a\u203a")
_WIDE_SQUARES = str.maketrans("\uff3b\ufe47\uff3d\ufe48", "[[]]")
_SQUARES = re.compile(r"\[(?=[^\s\d\[\]])([^\[\]]*)\]?")  # [INST] and [/INST], not [0.25, 0.50]


def quote(task: str, parts: Mapping[str, str]) -> tuple[str, str]:
    """Return the mark of a question, and its parts between lines `BEGIN name mark` and `END name mark`."""
    plain = {name: plain_text(text) for name, text in parts.items()}
    mark = hashlib.sha256(repr((task, plain)).encode()).hexdigest()[:32]
    return mark, "\n\n".join(f"BEGIN {name} {mark}\n{text}\nEND {name} {mark}" for name, text in plain.items())


def plain_text(text: str) -> str:
    """Return the text as valid Unicode without anything that spells a special token."""
    valid = text.encode("utf-8", "replace").decode()
    return _SQUARES.sub(r"(\1)", valid.translate(_ANGLES).translate(_WIDE_SQUARES))
