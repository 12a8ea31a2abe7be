"""The words of the toy world: colours, shapes, places and every sentence that is said about a clip.

Holds text only: what happens in a clip is decided in toyworld, and which tokens the words become in toymodel.
"""

from collections.abc import Iterator

COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (220, 40, 40),
    "green": (40, 190, 60),
    "blue": (50, 70, 230),
    "yellow": (235, 220, 50),
    "purple": (150, 50, 190),
    "cyan": (60, 205, 215),
    "orange": (240, 140, 30),
    "white": (245, 245, 245),
}
SHAPES = ("circle", "square", "triangle", "cross")
PLACES = ("left", "right", "top", "bottom")
LETTERS = "ABCDEFGH"

WHAT_COLOUR = "What color is the {shape}?"
WHAT_SHAPE = "What shape is {colour}?"

CHROME = "system user assistant seconds picture video answer"
EXTRA = "The answer is: I want to locate the key event in the video. I want to output the key elements:"


def corpus() -> Iterator[str]:
    """Text in which every word that the toy tokenizer should know as one token occurs, with and without its space."""
    words = [*COLOURS, *SHAPES, *PLACES, *LETTERS, *CHROME.split()]
    for word in words:
        yield f"{word} {word} {word.capitalize()}"
    yield from (WHAT_COLOUR, WHAT_SHAPE, EXTRA)
    yield from (f"{number:.2f}" for number in (i / 100 for i in range(100)))
